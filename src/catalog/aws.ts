/**
 * Which service and region a host of AWS stands for, as Signature Version 4 names them: a signature is good for one
 * service in one region, and a signing key is released for those of the host alone. The names were compared with those
 * of every service of botocore 1.44.
 */
export interface AwsEndpoint {
  /** Names under which requests to the host are signed; the first where the client does not say. None: nothing is signed. */
  readonly services: readonly string[];
  /** The same for regions. */
  readonly regions: readonly string[];
}

const SUFFIX = /\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$/;
const REGION = /^[a-z]{2,4}(?:-[a-z]+){1,3}-\d{1,2}$/;
const NOWHERE: AwsEndpoint = { services: [], regions: [] };
/** Of hosts that name no region. */
const GLOBAL = ['us-east-1', 'aws-global'];

/** Services that are signed for under other names than their hosts have. */
const SIGNED_AS: Readonly<Record<string, readonly string[]>> = {
  'account-access-runtime': ['account-access'],
  'agent-registry-control': ['agent-registry'],
  'agreement-marketplace': ['aws-marketplace'],
  appconfigdata: ['appconfig'],
  appstream2: ['appstream'],
  'bedrock-agent': ['bedrock'],
  'bedrock-agent-runtime': ['bedrock'],
  'bedrock-agentcore-control': ['bedrock-agentcore'],
  'bedrock-data-automation': ['bedrock'],
  'bedrock-data-automation-runtime': ['bedrock'],
  'bedrock-runtime': ['bedrock'],
  'cassandra-streams': ['cassandra'],
  cloudhsmv2: ['cloudhsm'],
  cloudsearchdomain: ['cloudsearch'],
  'cloudwatch-omni': ['cloudwatch'],
  'contact-lens': ['connect'],
  'data-signer': ['signer'],
  'deployment-marketplace': ['aws-marketplace'],
  'discovery-marketplace': ['aws-marketplace'],
  email: ['ses'],
  eventsv2: ['events'],
  forecastquery: ['forecast'],
  'iam-toolbox': ['iam'],
  'identity-chime': ['chime'],
  iot: ['iot', 'iotdata', 'iotdevicegateway', 'iot-jobs-data', 'IoTSecuredTunneling'],
  ivsrealtime: ['ivs'],
  'mail-manager': ['ses'],
  marketplace: ['aws-marketplace'],
  'media-pipelines-chime': ['chime'],
  'meetings-chime': ['chime'],
  'memory-db': ['memorydb'],
  'messaging-chime': ['chime'],
  'migrationhub-config': ['mgh'],
  'models-v2-lex': ['lex'],
  oidc: ['sso-oauth'],
  'partnercentral-prm': ['partnercentral'],
  'personalize-events': ['personalize'],
  'personalize-runtime': ['personalize'],
  pinpoint: ['mobiletargeting'],
  queue: ['sqs'],
  'reporting-marketplace': ['aws-marketplace'],
  'runtime-v2-lex': ['lex'],
  's3-accesspoint': ['s3'],
  's3-control': ['s3'],
  'servicecatalog-appregistry': ['servicecatalog'],
  sso: ['sso', 'awsssoportal'],
  'voice-chime': ['chime'],
};

/** Services whose name stands behind the region. Other such hosts are customers' own machines and databases. */
const BEHIND_REGION = new Set(['es', 'aoss', 'queue', 'health', 's3']);
/** Customers' machines, where the host names no region. */
const MACHINES = /^(?:compute-\d+|elb|compute)$/;

/** The same for hosts of two labels that only AWS gives out. */
const PARTICIPANT = ['execute-api'];

/** Services that hand out credentials, or change who may do what. */
const OVER_CREDENTIALS = new Set([
  'sts',
  'iam',
  'sso',
  'sso-oauth',
  'awsssoportal',
  'signin',
  'rolesanywhere',
  'identitystore',
]);

/**
 * What the canonical `host` stands for; undefined where it is none of AWS's own names. Only the labels beside the region
 * count: those before them (a bucket, an API) are the customer's to choose, and could be called "iam".
 */
export function awsEndpoint(host: string): AwsEndpoint | undefined {
  if (!SUFFIX.test(host)) return undefined;
  const labels = host.replace(SUFFIX, '').split('.');
  const at = labels.findLastIndex((label) => REGION.test(label) || label === 'global');
  const region = labels[at];
  const regions = region === undefined || region === 'global' ? GLOBAL : [region];
  if (at >= 0 && at < labels.length - 1) {
    const behind = labels.slice(at + 1);
    return BEHIND_REGION.has(behind.join('.')) ? endpoint(behind, regions) : { services: [], regions };
  }
  return endpoint(at === -1 ? labels : labels.slice(0, at), regions);
}

/** Whether a request to the canonical `host` may be signed for that service and region; false for hosts that are not AWS's. */
export function isScopeOf(host: string, service: string, region: string): boolean {
  const { services, regions } = awsEndpoint(host) ?? NOWHERE;
  return services.includes(service) && regions.includes(region);
}

/** Whether requests to that service hand out credentials: not signed unless the host is named as it is. */
export function isOverCredentials(service: string): boolean {
  return OVER_CREDENTIALS.has(service);
}

function endpoint(before: readonly string[], regions: readonly string[]): AwsEndpoint {
  const labels = before.filter((label) => label !== 'dualstack');
  const last = labels.at(-1)?.replace(/-fips$/, '') ?? '';
  if (last === 'connect' && labels.at(-2)?.startsWith('participant'))
    return { services: PARTICIPANT, regions };
  const legacy = /^s3-(.+)$/.exec(last)?.[1]; // bucket.s3-eu-west-1
  if (legacy !== undefined && REGION.test(legacy)) return { services: ['s3'], regions: [legacy] };
  return { services: MACHINES.test(last) ? [] : (SIGNED_AS[last] ?? [last]), regions };
}
