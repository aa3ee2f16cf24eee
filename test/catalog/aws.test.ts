import t from 'tap';
import { awsEndpoint, isOverCredentials, isScopeOf } from '../../src/catalog/aws.ts';

t.test('a host stands for its service and region', async (t) => {
  const hosts: [host: string, service: string, region: string][] = [
    ['dynamodb.us-east-1.amazonaws.com', 'dynamodb', 'us-east-1'],
    ['streams.dynamodb.eu-west-1.amazonaws.com', 'dynamodb', 'eu-west-1'],
    ['bedrock-runtime.us-gov-west-1.amazonaws.com', 'bedrock', 'us-gov-west-1'],
    ['kms-fips.us-east-2.amazonaws.com', 'kms', 'us-east-2'],
    ['ec2.cn-north-1.amazonaws.com.cn', 'ec2', 'cn-north-1'],
    ['email.ap-southeast-2.amazonaws.com', 'ses', 'ap-southeast-2'],
    ['api.ecr.eu-west-1.amazonaws.com', 'ecr', 'eu-west-1'],
    ['abc-ats.iot.eu-west-1.amazonaws.com', 'iotdata', 'eu-west-1'],
    ['participant.connect.eu-west-1.amazonaws.com', 'execute-api', 'eu-west-1'],
    ['abc.execute-api.eu-west-1.amazonaws.com', 'execute-api', 'eu-west-1'],
    ['search-x-abc.eu-west-1.es.amazonaws.com', 'es', 'eu-west-1'],
    ['abc.us-east-1.aoss.amazonaws.com', 'aoss', 'us-east-1'],
    ['eu-west-1.queue.amazonaws.com', 'sqs', 'eu-west-1'],
    ['s3.amazonaws.com', 's3', 'us-east-1'],
    ['s3.dualstack.eu-west-1.amazonaws.com', 's3', 'eu-west-1'],
    ['bucket.s3.eu-west-1.amazonaws.com', 's3', 'eu-west-1'],
    ['a.bucket.s3-eu-west-1.amazonaws.com', 's3', 'eu-west-1'],
    ['123456789012.s3-control.eu-west-1.amazonaws.com', 's3', 'eu-west-1'],
    ['route53.amazonaws.com', 'route53', 'us-east-1'],
    ['global.health.amazonaws.com', 'health', 'us-east-1'],
    ['codecatalyst.global.api.aws', 'codecatalyst', 'aws-global'],
    ['sts.amazonaws.com', 'sts', 'us-east-1'],
  ];
  for (const [host, service, region] of hosts) t.ok(isScopeOf(host, service, region), host);
});

t.test('what a customer chose in a host gives no other scope', async (t) => {
  const others: [host: string, service: string, region: string][] = [
    ['iam.s3.us-east-1.amazonaws.com', 'iam', 'us-east-1'],
    ['iam.us-east-1.s3.eu-west-1.amazonaws.com', 's3', 'us-east-1'],
    ['sts.execute-api.us-east-1.amazonaws.com', 'sts', 'us-east-1'],
    ['dynamodb.us-east-1.amazonaws.com', 's3', 'us-east-1'],
    ['dynamodb.us-east-1.amazonaws.com', 'dynamodb', 'us-west-1'],
    ['s3.amazonaws.com', 's3', 'eu-west-1'],
    ['dynamodb.us-east-1.amazonaws.com.evil.example', 'dynamodb', 'us-east-1'],
    ['dynamodb.us-east-1.notamazonaws.com', 'dynamodb', 'us-east-1'],
  ];
  for (const [host, service, region] of others)
    t.notOk(isScopeOf(host, service, region), `${host} ${service} ${region}`);
});

t.test("customers' own machines are no service", async (t) => {
  for (const host of [
    'ec2-192-0-2-1.compute-1.amazonaws.com',
    'ec2-192-0-2-1.eu-west-1.compute.amazonaws.com',
    'lb-123.us-east-1.elb.amazonaws.com',
    'db.abc.us-east-1.rds.amazonaws.com',
  ]) {
    t.same(awsEndpoint(host)?.services, [], host);
  }
  t.equal(awsEndpoint('minio.example'), undefined);
});

t.test('services that hand out credentials are known by any of their hosts', async (t) => {
  const over = (host: string): boolean => (awsEndpoint(host)?.services ?? []).some(isOverCredentials);
  for (const host of [
    'sts.amazonaws.com',
    'sts.eu-west-1.amazonaws.com',
    'sts-fips.us-east-1.amazonaws.com',
    'iam.amazonaws.com',
    'iam-toolbox.us-east-1.amazonaws.com',
    'portal.sso.us-east-1.amazonaws.com',
    'oidc.us-east-1.amazonaws.com',
    'sts.us-east-1.api.aws',
  ]) {
    t.ok(over(host), host);
  }
  for (const host of ['sts.s3.amazonaws.com', 'dynamodb.us-east-1.amazonaws.com']) t.notOk(over(host), host);
});
