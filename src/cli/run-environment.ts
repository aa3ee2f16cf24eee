/** What a command needs to be told to go through the proxy. Paths are absolute. */
export interface ProxyFacts {
  /** With the agent's name and token. */
  readonly proxyUrl: string;
  /** PEM of the agent's CA alone: for what adds it to its own roots. */
  readonly caFile: string;
  /** PEM of the system's roots and the agent's CA: for what replaces its roots. */
  readonly bundleFile: string;
  /** A wgetrc that names the bundle. */
  readonly wgetrcFile: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PROXY_VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'WS_PROXY', 'WSS_PROXY'];
/** ALL_PROXY is inherited from nobody and set for nobody: some clients take it for SOCKS. */
const REPLACED = [...PROXY_VARIABLES, 'ALL_PROXY', 'FTP_PROXY'];

const ADDS_CA = ['NODE_EXTRA_CA_CERTS', 'DENO_CERT'];
const REPLACES_ROOTS = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'AWS_CA_BUNDLE',
  'PIP_CERT',
  'CARGO_HTTP_CAINFO',
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  'HTTPLIB2_CA_CERTS',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
  'NIX_SSL_CERT_FILE',
  'PERL_LWP_SSL_CA_FILE',
  'npm_config_cafile',
];

/** Ours, and what leads to the vault: none of the command's business. */
const SECRET = /^(SALLYPORT_|CREDENTIALS_DIRECTORY$|SOFTHSM2_CONF$)|_PIN$|^PKCS11_/i;

/**
 * The command's environment: the inherited one, without our own variables and any proxy set before, in either case
 * (C's getenv takes the first match), and with ours.
 */
export function runEnvironment(inherited: Environment, facts: ProxyFacts): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(inherited)) {
    if (value === undefined || SECRET.test(name) || REPLACED.includes(name.toUpperCase())) continue;
    environment[name] = value;
  }
  const direct = noProxy(inherited);
  for (const name of [...PROXY_VARIABLES, 'NO_PROXY']) {
    environment[name] = name === 'NO_PROXY' ? direct : facts.proxyUrl;
    environment[name.toLowerCase()] = environment[name];
  }
  for (const name of ADDS_CA) environment[name] = facts.caFile;
  for (const name of REPLACES_ROOTS) environment[name] = facts.bundleFile;
  return {
    ...environment,
    WGETRC: facts.wgetrcFile,
    NODE_USE_ENV_PROXY: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_HTTP_PROXY_AUTHMETHOD: 'basic',
    OPENCLAW_PROXY_URL: facts.proxyUrl,
    AWS_EC2_METADATA_DISABLED: 'true',
    ...gitOverHttp1(inherited),
  };
}

/**
 * git's configuration in the environment (git-config(1)), ours behind what is there. Over HTTP/2 git pushes that are large wait for
 * ever now and then: older ones read on where libcurl asks once more after the end (git/git#1608; seen with 2.39 under load).
 */
function gitOverHttp1(inherited: Environment): Record<string, string> {
  const before = Number(inherited.GIT_CONFIG_COUNT ?? 0);
  if (!Number.isInteger(before) || before < 0) return {}; // git will say what is wrong with it
  return {
    GIT_CONFIG_COUNT: String(before + 1),
    [`GIT_CONFIG_KEY_${before}`]: 'http.version',
    [`GIT_CONFIG_VALUE_${before}`]: 'HTTP/1.1',
  };
}

/** Hosts that go direct: those that did before, and this machine. `*` would turn the proxy off, so it is dropped. */
function noProxy(inherited: Environment): string {
  const before = [inherited.NO_PROXY, inherited.no_proxy].flatMap((value) => (value ?? '').split(','));
  const hosts = [...before, 'localhost', '127.0.0.1', '::1'].map((host) => host.trim());
  return [...new Set(hosts.filter((host) => host !== '' && host !== '*'))].join(',');
}
