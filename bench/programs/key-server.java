// A store of keys and values, one line a request: java key-server.java PORT MIB. Says "ready" when it is filled and listens.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ConcurrentHashMap;

class KeyServer {
  private static final int VALUE_LENGTH = 1024;
  private static final int CHURN_MS = 10;
  private static final int CHURNED_PAIRS = 100;
  private static final ConcurrentHashMap<String, String> pairs = new ConcurrentHashMap<>();

  private static String fillValue(int index) {
    String word = index + "-";
    return word.repeat(VALUE_LENGTH / word.length() + 1).substring(0, VALUE_LENGTH);
  }

  /** Writes some pairs anew, as a program does that works on its data. */
  private static void churn(int count) {
    try {
      for (int index = 0; count > 0; Thread.sleep(CHURN_MS)) {
        for (int pair = 0; pair < CHURNED_PAIRS; pair++) {
          index = (index + 1) % count;
          pairs.put("fill-" + index, fillValue(index));
        }
      }
    } catch (InterruptedException end) {
      Thread.currentThread().interrupt();
    }
  }

  private static void serve(Socket socket) {
    try (socket) {
      socket.setTcpNoDelay(true);
      var reader = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII));
      var output = socket.getOutputStream();
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        String[] words = line.split(" ");
        if (words[0].equals("put")) pairs.put(words[1], words[2]);
        String answer = words[0].equals("get") ? pairs.getOrDefault(words[1], "") : "ok";
        output.write((answer + "\n").getBytes(StandardCharsets.US_ASCII));
      }
    } catch (IOException end) {
      // The client has gone.
    }
  }

  private static void startDaemon(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    thread.start();
  }

  public static void main(String[] arguments) throws IOException {
    int count = Integer.parseInt(arguments[1]) * 1024;
    for (int index = 0; index < count; index++) pairs.put("fill-" + index, fillValue(index));
    try (var server = new ServerSocket(Integer.parseInt(arguments[0]), 50, InetAddress.getByName("127.0.0.1"))) {
      startDaemon(() -> churn(count));
      System.out.println("ready");
      while (true) {
        Socket socket = server.accept();
        startDaemon(() -> serve(socket));
      }
    }
  }
}
