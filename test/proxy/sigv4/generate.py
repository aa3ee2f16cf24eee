"""Writes botocore.json: requests with the Authorization that botocore gives them. Needs botocore: python3 generate.py"""

import datetime
import json
import pathlib
from unittest import mock

import botocore
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 11, 24, 18, 7, 43, tzinfo=datetime.timezone.utc)

JSON = {"content-type": "application/x-amz-json-1.0"}
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
S3 = "examplebucket.s3.eu-west-1.amazonaws.com"
REQUESTS = [
    # service, region, method, host, target, headers, body, session token
    ("dynamodb", "us-east-1", "POST", "dynamodb.us-east-1.amazonaws.com", "/", {**JSON, "x-amz-target": "DynamoDB_20120810.ListTables"}, "{}", None),
    ("dynamodb", "us-east-1", "POST", "dynamodb.us-east-1.amazonaws.com", "/", {**JSON, "x-amz-target": "DynamoDB_20120810.ListTables"}, "{}", "a/session+token=="),
    ("ec2", "eu-central-1", "POST", "ec2.eu-central-1.amazonaws.com", "/", FORM, "Action=DescribeRegions&Version=2016-11-15", None),
    ("ec2", "eu-central-1", "GET", "ec2.eu-central-1.amazonaws.com", "/?Version=2016-11-15&Action=DescribeRegions&Filter.1.Name=a%20b&Filter.1.Value=%C3%A9", {}, "", None),
    ("lambda", "us-west-2", "POST", "lambda.us-west-2.amazonaws.com", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A123456789012%3Afunction%3Af/invocations", {}, '{"a":1}', None),
    ("bedrock", "us-east-1", "POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke", {"content-type": "application/json"}, "{}", None),
    ("execute-api", "us-east-1", "GET", "abc123.execute-api.us-east-1.amazonaws.com", "/prod/a/../b/./c//d/", {}, "", None),
    ("execute-api", "us-east-1", "GET", "abc123.execute-api.us-east-1.amazonaws.com", "/prod/ab?b=2&a=1&a=0&c&d=", {}, "", None),
    ("es", "eu-west-1", "GET", "search-x-abc.eu-west-1.es.amazonaws.com", "/index%2Cother/_search?q=a%3Ab%20c", {}, "", None),
    ("s3", "eu-west-1", "GET", S3, "/a/../b//c/%C3%A9%20%2B~-_.txt", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, "", None),
    ("s3", "eu-west-1", "PUT", S3, "/key", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-type": "text/plain", "x-amz-meta-note": "  two   spaces  "}, "body", "token"),
    ("s3", "eu-west-1", "GET", S3, "/?list-type=2&prefix=a%2Fb&delimiter=%2F&max-keys=2", {"x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "", None),
    ("s3", "eu-west-1", "GET", S3, "/key?versionId=x&partNumber=1", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "range": "bytes=0-9"}, "", None),
    ("s3", "eu-west-1", "POST", S3, "/key?uploads", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, "", None),
]


def signed(service, region, method, host, target, headers, body, token):
    request = AWSRequest(method=method, url=f"https://{host}{target}", headers=dict(headers), data=body)
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    signs_payload = headers.get("x-amz-content-sha256") != "UNSIGNED-PAYLOAD"
    request.context["client_config"] = Config(s3={"payload_signing_enabled": signs_payload})
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        auth(Credentials(KEY, SECRET, token), service, region).add_auth(request)
    hash_ = headers.get("x-amz-content-sha256")
    assert hash_ in (None, request.headers["X-Amz-Content-SHA256"]), (hash_, request.headers["X-Amz-Content-SHA256"])
    return request.headers["Authorization"]


table = []
for row in REQUESTS:
    names = ("service", "region", "method", "host", "target", "headers", "body", "token")
    table.append({**dict(zip(names, row)), "authorization": signed(*row)})
result = {"botocore": botocore.__version__, "accessKeyId": KEY, "secretAccessKey": SECRET, "date": "20261124T180743Z", "requests": table}
pathlib.Path(__file__).with_name("botocore.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
