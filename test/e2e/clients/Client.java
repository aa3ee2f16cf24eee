import java.io.FileInputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.HexFormat;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** GET /big and POST /echo with HttpClient; prints the SHA-256 of what came, what was answered, and the protocol. */
class Client {
  public static void main(String[] args) throws Exception {
    URI proxy = URI.create(System.getenv("HTTPS_PROXY"));
    String[] user = proxy.getUserInfo().split(":");
    KeyStore roots = KeyStore.getInstance("PKCS12");
    roots.load(null, null);
    try (var file = new FileInputStream(System.getenv("NODE_EXTRA_CA_CERTS"))) {
      for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        roots.setCertificateEntry("root" + roots.size(), certificate);
      }
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(roots);
    var context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    var client =
        HttpClient.newBuilder()
            .sslContext(context)
            .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
            .authenticator(
                new Authenticator() {
                  @Override
                  protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(user[0], user[1].toCharArray());
                  }
                })
            .build();
    var big = client.send(HttpRequest.newBuilder(URI.create(args[0] + "/big")).build(), BodyHandlers.ofByteArray());
    var body = HttpRequest.BodyPublishers.ofString("x".repeat(300_000));
    var post = HttpRequest.newBuilder(URI.create(args[0] + "/echo")).POST(body).build();
    var echo = client.send(post, BodyHandlers.ofString());
    var digest = MessageDigest.getInstance("SHA-256").digest(big.body());
    System.out.println(HexFormat.of().formatHex(digest) + " " + echo.body() + " " + echo.version());
  }
}
