/* The benchmark's upstream: canned answers over HTTP/1.1, one epoll thread, never the bottleneck.
 *
 *     upstream PORT DIRECTORY CHUNKS
 *
 * DIRECTORY holds the answers as scripts/bench/traffic.py writes them: whole, first, chunk, last, last_with_usage, and
 * `paces` with a line "model delay_ms gap_ms" for each model. A request with "stream":true gets first, CHUNKS times
 * chunk, and last, each in a send of its own, gap_ms apart; a negative gap sends first and one chunk and then stays.
 * Requests must carry Content-Length. Listens on 127.0.0.1 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 65536, MODELS_MAX = 8, EVENTS = 512, STEPS_A_TURN = 256 };

typedef struct { char *data; size_t size; } Bytes;

/* Connections that wait equally long form a queue: its head is due first. */
typedef struct Connection Connection;
typedef struct { Connection *head, *tail; } Queue;

typedef struct { char quoted[66]; double delay_ms, gap_ms; Queue delayed, gapped; } Model;

struct Connection {
    int fd;
    Model *model;
    int streaming, with_usage, sent; /* sent: steps of the stream so far */
    int busy;                        /* an answer is under way */
    double due_ms;
    Queue *queue;
    Connection *previous, *next;
    char *unsent; size_t unsent_size;
    size_t size;
    char request[REQUEST_MAX];
};

static Model models[MODELS_MAX];
static int model_count, chunk_count, epoll;
static Bytes whole, first, chunk, last, last_with_usage;
static volatile sig_atomic_t stopping;

static void on_signal(int number) { (void)number; stopping = 1; }

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static Bytes load(const char *directory, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!file) { perror(path); exit(1); }
    Bytes bytes = {malloc(1 << 16), 0};
    bytes.size = fread(bytes.data, 1, 1 << 16, file);
    fclose(file);
    return bytes;
}

static void load_paces(const char *directory) {
    Bytes text = load(directory, "paces");
    text.data[text.size] = 0;
    for (char *line = strtok(text.data, "\n"); line && model_count < MODELS_MAX; line = strtok(NULL, "\n")) {
        char name[64];
        Model *model = &models[model_count];
        if (sscanf(line, "%63s %lf %lf", name, &model->delay_ms, &model->gap_ms) == 3) {
            snprintf(model->quoted, sizeof model->quoted, "\"%s\"", name);
            model_count++;
        }
    }
}

static void leave_queue(Connection *c) {
    if (!c->queue) return;
    if (c->previous) c->previous->next = c->next; else c->queue->head = c->next;
    if (c->next) c->next->previous = c->previous; else c->queue->tail = c->previous;
    c->queue = NULL;
    c->previous = c->next = NULL;
}

static void wait_in(Connection *c, Queue *queue, double due_ms) {
    c->due_ms = due_ms;
    c->queue = queue;
    c->previous = queue->tail;
    c->next = NULL;
    if (queue->tail) queue->tail->next = c; else queue->head = c;
    queue->tail = c;
}

static void drop(Connection *c) {
    leave_queue(c);
    close(c->fd);
    free(c->unsent);
    free(c);
}

static void watch(Connection *c, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* 0 sent or kept for later, -1 the other side has gone. */
static int put(Connection *c, Bytes bytes) {
    size_t done = 0;
    if (!c->unsent_size) {
        ssize_t sent = send(c->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return -1;
        done = sent < 0 ? 0 : (size_t)sent;
        if (done == bytes.size) return 0;
        watch(c, EPOLLIN | EPOLLOUT);
    }
    c->unsent = realloc(c->unsent, c->unsent_size + bytes.size - done);
    memcpy(c->unsent + c->unsent_size, bytes.data + done, bytes.size - done);
    c->unsent_size += bytes.size - done;
    return 0;
}

static int put_unsent(Connection *c) {
    ssize_t sent = send(c->fd, c->unsent, c->unsent_size, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->unsent_size -= sent;
    memmove(c->unsent, c->unsent + sent, c->unsent_size);
    if (!c->unsent_size) watch(c, EPOLLIN);
    return 0;
}

static int answer(Connection *c);

/* The next piece of an answer that is due. -1: the connection is to be dropped. */
static int step(Connection *c) {
    if (!c->streaming) {
        if (put(c, whole) < 0) return -1;
    } else {
        int number = c->sent++;
        Bytes piece = number == 0 ? first : number <= chunk_count ? chunk : c->with_usage ? last_with_usage : last;
        if (put(c, piece) < 0) return -1;
        if (c->model->gap_ms < 0 && number == 1) return 0; /* stays, until the other side leaves */
        if (number <= chunk_count) {
            double gap_ms = c->model->gap_ms;
            wait_in(c, &c->model->gapped, gap_ms > 0 ? c->due_ms + gap_ms : c->due_ms);
            return 0;
        }
    }
    c->busy = 0;
    return answer(c);
}

/* Begins an answer if a whole request is here. */
static int answer(Connection *c) {
    if (c->busy) return 0;
    char *end = memmem(c->request, c->size, "\r\n\r\n", 4);
    if (!end) return c->size < REQUEST_MAX ? 0 : -1;
    *end = 0;
    char *length = strcasestr(c->request, "\r\ncontent-length:");
    size_t body_size = length ? strtoul(length + 17, NULL, 10) : 0, head_size = end + 4 - c->request;
    *end = '\r';
    if (head_size + body_size > REQUEST_MAX) return -1;
    if (c->size < head_size + body_size) return 0;
    char *body = c->request + head_size;
    c->model = &models[0];
    for (int i = 0; i < model_count; i++)
        if (memmem(body, body_size, models[i].quoted, strlen(models[i].quoted))) c->model = &models[i];
    c->streaming = memmem(body, body_size, "\"stream\":true", 13) != NULL;
    c->with_usage = memmem(body, body_size, "\"include_usage\":true", 20) != NULL;
    c->size -= head_size + body_size;
    memmove(c->request, body + body_size, c->size);
    c->busy = 1;
    c->sent = 0;
    if (c->model->delay_ms <= 0 && !c->streaming) return step(c);
    wait_in(c, &c->model->delayed, now_ms() + c->model->delay_ms);
    return 0;
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = malloc(sizeof *c);
        memset(c, 0, offsetof(Connection, request));
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void serve(Connection *c, unsigned events) {
    if (events & (EPOLLERR | EPOLLHUP)) { drop(c); return; }
    if (events & EPOLLOUT && c->unsent_size && put_unsent(c) < 0) { drop(c); return; }
    if (!(events & EPOLLIN)) return;
    ssize_t got = recv(c->fd, c->request + c->size, REQUEST_MAX - c->size, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) { drop(c); return; }
    if (got > 0) c->size += got;
    if (answer(c) < 0) drop(c);
}

static void run_due(Queue *queue, double now) {
    for (int steps = 0; queue->head && queue->head->due_ms <= now && steps < STEPS_A_TURN; steps++) {
        Connection *c = queue->head;
        leave_queue(c);
        if (step(c) < 0) drop(c);
    }
}

static double next_due_ms(void) {
    double due_ms = -1;
    for (int i = 0; i < model_count * 2; i++) {
        Queue *queue = i % 2 ? &models[i / 2].gapped : &models[i / 2].delayed;
        if (queue->head && (due_ms < 0 || queue->head->due_ms < due_ms)) due_ms = queue->head->due_ms;
    }
    return due_ms;
}

static int wait_events(struct epoll_event *events) {
    double due_ms = next_due_ms();
    if (due_ms < 0) return epoll_wait(epoll, events, EVENTS, -1);
    double wait_ms = due_ms - now_ms();
    if (wait_ms < 0) wait_ms = 0;
    struct timespec wait = {(time_t)(wait_ms / 1e3), 0};
    wait.tv_nsec = (long)((wait_ms - wait.tv_sec * 1e3) * 1e6);
    return epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: upstream PORT DIRECTORY CHUNKS\n"); return 2; }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    chunk_count = atoi(argv[3]);
    load_paces(argv[2]);
    whole = load(argv[2], "whole");
    first = load(argv[2], "first");
    chunk = load(argv[2], "chunk");
    last = load(argv[2], "last");
    last_with_usage = load(argv[2], "last_with_usage");

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("listen"); return 1; }
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    while (!stopping) {
        int count = wait_events(events);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
        double now = now_ms();
        for (int i = 0; i < model_count; i++) {
            run_due(&models[i].delayed, now);
            run_due(&models[i].gapped, now);
        }
    }
    return 0;
}
