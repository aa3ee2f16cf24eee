/*
 * A load generator for the benchmarks: HTTP/1.1 over TLS, directly or inside a CONNECT tunnel, from one thread with
 * epoll. Nothing is allocated per request, so that it is not what is measured. Prints two lines of JSON on stdout:
 * {"event":"counting"} when the warm-up is over, and the figures at the end.
 *
 * Only answers with status 200 count as requests; everything else is an error. Latencies are microseconds from the
 * first byte sent (in new-tunnel mode: from connect()) to the last byte of the answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: load -a ADDRESS:PORT -s SERVER_NAME [options]\n"
    "  -a ADDRESS:PORT  where to connect: the server, or with -t the proxy\n"
    "  -s SERVER_NAME   for SNI, certificate check and Host\n"
    "  -A FILE          PEM with the trusted roots\n"
    "  -t HOST:PORT     open a CONNECT tunnel to there first; Basic credentials user:password in PROXY_USER\n"
    "  -H 'Name: value' one more field in every request\n"
    "  -p PATH          default /\n"
    "  -b BYTES         POST with a body of so many bytes instead of GET\n"
    "  -c CONNECTIONS   default 1\n"
    "  -d SECONDS       default 1; or -n REQUESTS\n"
    "  -w SECONDS       warm up first: not counted\n"
    "  -N               a new connection (and tunnel) for every request; with -r resuming the TLS session\n";

#define BUFFER (64 * 1024)
#define MOST_US 2000000 /* slower answers are counted as this slow */
#define STALL_S 10

enum state { CONNECTING, TUNNELLING, HANDSHAKE, SENDING, RECEIVING };
enum body { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, DONE };

struct connection {
  int fd;
  SSL *ssl;
  enum state state;
  uint32_t events; /* what epoll watches for */
  size_t sent;
  uint64_t started;
  /* The answer so far. */
  enum body body;
  bool ok, close;
  uint64_t left;
  size_t held;
  char head[8192];
};

static struct sockaddr_in target;
static const char *server_name, *tunnel;
static char connect_text[2048];
static size_t connect_length;
static char *request;
static size_t request_length;
static bool fresh, resume;
static SSL_CTX *context;
static SSL_SESSION *session;
static int poller;
static uint64_t requests, errors, resumed, finished_at, wanted;
static uint64_t first_at, last_at, stop_at;
static bool counting;
static uint32_t *histogram;
static char first_error[256];

static uint64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void die(const char *what) {
  fprintf(stderr, "load: %s\n", what);
  exit(1);
}

static void note(const char *what) {
  if (first_error[0]) return;
  unsigned long code = ERR_peek_error();
  snprintf(first_error, sizeof first_error, "%.160s%s%.80s", what, code ? ": " : "", code ? ERR_reason_error_string(code) : "");
}

/* Notes the first line of a head as an error. */
static void note_line(char *head) {
  char *end = strpbrk(head, "\r\n");
  char kept = end ? *end : 0;
  if (end) *end = 0;
  note(head);
  if (end) *end = kept;
}

static void watch(struct connection *c, uint32_t events) {
  if (c->events == events) return;
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(poller, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl failed");
  c->events = events;
}

static void dial(struct connection *c) {
  c->started = now_us();
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket failed");
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(c->fd, (struct sockaddr *)&target, sizeof target) != 0 && errno != EINPROGRESS) die("connect failed");
  c->state = CONNECTING;
  c->events = 0;
  c->sent = c->held = 0;
  c->ssl = NULL;
  watch(c, EPOLLOUT);
}

static void hang_up(struct connection *c) {
  if (c->ssl) {
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
  }
  ERR_clear_error();
  close(c->fd);
}

static void failed(struct connection *c, const char *what) {
  note(what);
  errors++;
  if (errors > 1000 && errors > requests) {
    fprintf(stderr, "load: nothing but errors: %s\n", first_error);
    exit(1);
  }
  hang_up(c);
  dial(c);
}

static void send_request(struct connection *c);
static void receive(struct connection *c);

static void answered(struct connection *c) {
  uint64_t now = now_us();
  finished_at = now;
  if (!c->ok) {
    errors++;
  } else if (counting) {
    uint64_t took = now - c->started;
    histogram[took < MOST_US ? took : MOST_US]++;
    requests++;
    last_at = now;
    if (fresh && SSL_session_reused(c->ssl)) resumed++;
  }
  if (fresh || c->close) {
    hang_up(c);
    dial(c);
    return;
  }
  c->started = now;
  send_request(c);
}

static bool field_is(const char *line, const char *name, const char **value) {
  size_t length = strlen(name);
  if (strncasecmp(line, name, length) != 0 || line[length] != ':') return false;
  *value = line + length + 1;
  while (**value == ' ' || **value == '\t') (*value)++;
  return true;
}

/* Reads the head that stands complete in c->head. */
static void read_head(struct connection *c) {
  c->ok = strncmp(c->head, "HTTP/1.1 200", 12) == 0;
  if (!c->ok) note_line(c->head);
  c->close = false;
  c->left = 0;
  bool chunked = false;
  for (char *line = strstr(c->head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
    const char *value;
    if (field_is(line + 2, "content-length", &value)) c->left = strtoull(value, NULL, 10);
    if (field_is(line + 2, "transfer-encoding", &value)) chunked = strncasecmp(value, "chunked", 7) == 0;
    if (field_is(line + 2, "connection", &value)) c->close = strncasecmp(value, "close", 5) == 0;
  }
  c->body = chunked ? CHUNK_SIZE : c->left > 0 ? LENGTH : DONE;
}

/* Takes bytes of the answer; true once it is complete. */
static bool take(struct connection *c, const char *bytes, size_t count) {
  size_t at = 0;
  while (at < count && c->body != DONE) {
    if (c->body == LENGTH || c->body == CHUNK_DATA) {
      size_t part = count - at < c->left ? count - at : c->left;
      at += part;
      c->left -= part;
      if (c->left == 0) c->body = c->body == LENGTH ? DONE : CHUNK_END;
      continue;
    }
    /* Everything else is lines, gathered in c->head. */
    char byte = bytes[at++];
    if (c->held == sizeof c->head - 1) die("an answer's head is too large");
    c->head[c->held++] = byte;
    if (byte != '\n') continue;
    c->head[c->held] = 0;
    bool empty = c->held == 2;
    switch (c->body) {
      case HEAD:
        if (c->held < 4 || memcmp(c->head + c->held - 4, "\r\n\r\n", 4) != 0) continue;
        read_head(c);
        break;
      case CHUNK_SIZE:
        c->left = strtoull(c->head, NULL, 16);
        c->body = c->left > 0 ? CHUNK_DATA : TRAILER;
        break;
      case CHUNK_END:
        c->body = CHUNK_SIZE;
        break;
      case TRAILER:
        if (empty) c->body = DONE;
        break;
      default:
        break;
    }
    c->held = 0;
  }
  return c->body == DONE;
}

/* What an SSL call wants next; false where the connection is broken. */
static bool wants(struct connection *c, int result) {
  int error = SSL_get_error(c->ssl, result);
  if (error == SSL_ERROR_WANT_READ) watch(c, EPOLLIN);
  else if (error == SSL_ERROR_WANT_WRITE) watch(c, EPOLLOUT);
  else return false;
  return true;
}

static void receive(struct connection *c) {
  static char buffer[BUFFER];
  for (;;) {
    int count = SSL_read(c->ssl, buffer, sizeof buffer);
    if (count <= 0) {
      int error = SSL_get_error(c->ssl, count);
      if (error == SSL_ERROR_WANT_READ) return; /* already watched */
      failed(c, "the connection ended within an answer");
      return;
    }
    if (take(c, buffer, count)) {
      answered(c);
      return;
    }
  }
}

static void send_request(struct connection *c) {
  if (c->state != SENDING) {
    c->state = SENDING;
    c->sent = 0;
  }
  while (c->sent < request_length) {
    int count = SSL_write(c->ssl, request + c->sent, request_length - c->sent);
    if (count <= 0) {
      if (!wants(c, count)) failed(c, "the request could not be written");
      return;
    }
    c->sent += count;
  }
  c->state = RECEIVING;
  c->body = HEAD;
  c->held = 0;
  watch(c, EPOLLIN);
}

static void shake(struct connection *c) {
  if (!c->ssl) {
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    SSL_set_tlsext_host_name(c->ssl, server_name);
    SSL_set1_host(c->ssl, server_name);
    if (resume && session) SSL_set_session(c->ssl, session);
    c->state = HANDSHAKE;
  }
  int result = SSL_do_handshake(c->ssl);
  if (result != 1) {
    if (!wants(c, result)) failed(c, "the TLS handshake failed");
    return;
  }
  if (!fresh) c->started = now_us();
  send_request(c);
}

static void open_tunnel(struct connection *c, uint32_t events) {
  if (c->sent < connect_length) {
    ssize_t count = send(c->fd, connect_text + c->sent, connect_length - c->sent, MSG_NOSIGNAL);
    if (count < 0) {
      failed(c, "CONNECT could not be written");
      return;
    }
    c->sent += count;
    c->state = TUNNELLING;
    if (c->sent == connect_length) watch(c, EPOLLIN);
    return;
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  /* The server speaks first only after the handshake: nothing follows the answer to CONNECT. */
  ssize_t count = recv(c->fd, c->head + c->held, sizeof c->head - 1 - c->held, 0);
  if (count <= 0) {
    failed(c, "the proxy hung up on CONNECT");
    return;
  }
  c->held += count;
  c->head[c->held] = 0;
  if (!strstr(c->head, "\r\n\r\n")) return;
  if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 && strncmp(c->head, "HTTP/1.0 200", 12) != 0) {
    note_line(c->head);
    failed(c, "CONNECT was refused");
    return;
  }
  shake(c);
}

static void step(struct connection *c, uint32_t events) {
  switch (c->state) {
    case CONNECTING: {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error) failed(c, strerror(error));
      else if (tunnel) open_tunnel(c, events);
      else shake(c);
      return;
    }
    case TUNNELLING: open_tunnel(c, events); return;
    case HANDSHAKE: shake(c); return;
    case SENDING: send_request(c); return;
    case RECEIVING: receive(c); return;
  }
}

static int keep_session(SSL *ssl, SSL_SESSION *fresh_session) {
  (void)ssl;
  if (session) SSL_SESSION_free(session);
  session = fresh_session;
  return 1;
}

static void prepare(const char *authority, const char *path, const char *field, size_t body) {
  char *user = getenv("PROXY_USER");
  char basic[1024] = "", coded[900];
  if (tunnel && user) {
    if (strlen(user) > 600) die("PROXY_USER is too long");
    EVP_EncodeBlock((unsigned char *)coded, (unsigned char *)user, strlen(user));
    snprintf(basic, sizeof basic, "Proxy-Authorization: Basic %s\r\n", coded);
  }
  if (tunnel) {
    connect_length = snprintf(connect_text, sizeof connect_text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", tunnel, tunnel, basic);
    if (connect_length >= sizeof connect_text) die("-t is too long");
  }
  size_t room = 4096 + strlen(path) + strlen(field) + body;
  request = malloc(room);
  int head = snprintf(request, room, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n%s%s", body ? "POST" : "GET", path, authority, field, *field ? "\r\n" : "");
  if (body) head += snprintf(request + head, room - head, "Content-Length: %zu\r\n", body);
  head += snprintf(request + head, room - head, "\r\n");
  memset(request + head, 'x', body);
  request_length = head + body;
}

static uint32_t percentile(double share) {
  uint64_t rank = requests * share, seen = 0;
  for (uint32_t us = 0; us <= MOST_US; us++) {
    seen += histogram[us];
    if (seen > rank) return us;
  }
  return 0;
}

static void run(void) {
  struct epoll_event events[256];
  for (uint64_t now = now_us();; now = now_us()) {
    if (!counting && now >= first_at) {
      counting = true;
      first_at = now;
      puts("{\"event\":\"counting\"}"); /* whoever measures the proxy's processes begins here */
      fflush(stdout);
    }
    if (wanted ? requests >= wanted : now >= stop_at) return;
    if (now - finished_at > STALL_S * 1000000ull) {
      fprintf(stderr, "load: no answer for %d s%s%s\n", STALL_S, first_error[0] ? ": " : "", first_error);
      exit(1);
    }
    int count = epoll_wait(poller, events, 256, 100);
    for (int i = 0; i < count; i++) step(events[i].data.ptr, events[i].events);
  }
}

int main(int argc, char **argv) {
  const char *address = NULL, *roots = NULL, *path = "/", *field = "";
  int connections = 1, option;
  double seconds = 1, warm_up = 0;
  size_t body = 0;
  while ((option = getopt(argc, argv, "a:s:A:t:H:p:b:c:d:n:w:Nr")) != -1) {
    switch (option) {
      case 'a': address = optarg; break;
      case 's': server_name = optarg; break;
      case 'A': roots = optarg; break;
      case 't': tunnel = optarg; break;
      case 'H': field = optarg; break;
      case 'p': path = optarg; break;
      case 'b': body = strtoull(optarg, NULL, 10); break;
      case 'c': connections = atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      case 'n': wanted = strtoull(optarg, NULL, 10); break;
      case 'w': warm_up = atof(optarg); break;
      case 'N': fresh = true; break;
      case 'r': resume = true; break;
      default: fputs(USAGE, stderr); return 2;
    }
  }
  char host[64];
  unsigned port;
  if (!address || !server_name || sscanf(address, "%63[0-9.]:%u", host, &port) != 2 || connections < 1) {
    fputs(USAGE, stderr);
    return 2;
  }
  target.sin_family = AF_INET;
  target.sin_port = htons(port);
  if (inet_pton(AF_INET, host, &target.sin_addr) != 1) die("-a is not an IPv4 address and port");
  signal(SIGPIPE, SIG_IGN);

  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  if (roots && SSL_CTX_load_verify_locations(context, roots, NULL) != 1) die("-A cannot be read");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  if (resume) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
  }

  /* Host names the port only where it is not the default, as clients do. */
  const char *authority = server_name;
  if (tunnel) {
    const char *colon = strrchr(tunnel, ':');
    if (colon && strcmp(colon, ":443") != 0) authority = tunnel;
  }
  prepare(authority, path, field, body);
  histogram = calloc(MOST_US + 1, sizeof *histogram);
  struct connection *all = calloc(connections, sizeof *all);
  poller = epoll_create1(EPOLL_CLOEXEC);
  finished_at = now_us();
  first_at = finished_at + warm_up * 1e6;
  stop_at = first_at + seconds * 1e6;
  for (int i = 0; i < connections; i++) dial(&all[i]);
  run();

  double took = (last_at - first_at) / 1e6;
  printf("{\"requests\":%lu,\"errors\":%lu,\"seconds\":%.3f,\"requestsPerSecond\":%.0f,\"p50\":%u,\"p99\":%u,\"resumed\":%lu,\"firstError\":\"",
         requests, errors, took, took > 0 ? requests / took : 0, percentile(0.5), percentile(0.99), resumed);
  for (const char *c = first_error; *c; c++) putchar(*c < ' ' || *c == '"' || *c == '\\' ? '\'' : *c);
  printf("\"}\n");
  return 0;
}
