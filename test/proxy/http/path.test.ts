import t from 'tap';
import { pathIsUnambiguous } from '../../../src/proxy/http/path.ts';

t.test('plain paths, and escapes that everybody keeps, are unambiguous', (t) => {
  const paths =
    "/|/v1/messages|/a/|/a.b/..c/.d/...|/a-b_c~d|/v1:run|/@a/b|/a+b,c=d&e!$'()*|/a%20b|/%C3%BC|/%c3%bc|/a%3Fb|/a%23b|/a%3Ab|/%E2%82%AC|/a%40b|/a%2Bb|/.well-known/x";
  for (const path of paths.split('|')) t.ok(pathIsUnambiguous(path), path);
  t.end();
});

t.test('what servers normalise differently is ambiguous', (t) => {
  const paths = [
    '/..|/../a|/a/..|/a/../b|/.|/./a|/a/.|/a/./b|//|//a|/a//b|/a//|/a\\b|/\\..\\a|/a;b|/a;|/a/..;/b|/;/a',
    '/%2e|/%2E%2e/a|/a/%2e./b|/a/.%2e/b|/a%2fb|/a%2Fb|/%2f|/a%5cb|/a%5Cb|/a%3bb|/a%3Bb|/a%252fb|/a%252e|/%25',
    '/%|/a%|/a%2|/a%zz|/%g0|/%0|/a%%20|/a%u002f|/% 20|/a%2',
    '/%aF|/%Af|/%cC%bc|/%41|/%61dmin|/%7e|/%2d|/%5F|/%30',
    '/%00|/a%00b|/%0a|/%0D|/%1f|/%7f|/a\0b|/a\tb|/a b|/a\nb|/a\x7fb|/\xfc|/ü|/€',
    '/%c0%ae|/%C0%AF|/%e0%80%af|/%ff|/%C3|/%C3a|/%BC|/%ED%A0%80',
    '|a|*|a/b|http://a/b|?a|../a|%2f',
  ];
  for (const path of paths.flatMap((line) => line.split('|')))
    t.notOk(pathIsUnambiguous(path), JSON.stringify(path));
  t.end();
});

t.test('a long path is judged in linear time', (t) => {
  const begun = process.hrtime.bigint();
  for (const piece of ['/.', '%C3%BC', '/a', '%', '.', '/...'])
    pathIsUnambiguous(`/a${piece.repeat(50_000)}`);
  t.ok(Number(process.hrtime.bigint() - begun) / 1e6 < 2000);
  t.end();
});
