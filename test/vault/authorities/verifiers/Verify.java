import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Verifies FOLDER/chain.pem against FOLDER/root.pem as a TLS client does; prints OK or what it has against it. */
public class Verify {
  public static void main(String[] folders) throws Exception {
    for (String folder : folders) {
      try {
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        int number = 0;
        for (X509Certificate root : read(folder, "root.pem")) store.setCertificateEntry("" + number++, root);
        factory.init(store);
        X509TrustManager manager = (X509TrustManager) factory.getTrustManagers()[0];
        manager.checkServerTrusted(read(folder, "chain.pem"), "ECDHE_ECDSA");
        System.out.println("OK");
      } catch (Exception refusal) {
        Throwable cause = refusal;
        while (cause.getCause() != null) cause = cause.getCause();
        System.out.println(String.valueOf(cause.getMessage()).replace('\n', ' '));
      }
    }
  }

  private static X509Certificate[] read(String folder, String file) throws Exception {
    byte[] pem = Files.readAllBytes(Path.of(folder, file));
    return CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem)).stream()
        .map((Certificate each) -> (X509Certificate) each)
        .toArray(X509Certificate[]::new);
  }
}
