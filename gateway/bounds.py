"""Every bound of the hall, with its reason. Other rooms' bounds stand in their own modules.

Times are seconds, sizes bytes.
"""

from __future__ import annotations

# What a client may send.
HEADERS_TIMEOUT_S = 20.0  # from the first byte of a request to its last header: uvicorn has no such deadline
BODY_TIMEOUT_S = 60.0  # to receive a whole body; a hold is made only afterwards
BODY_CLOSE_S = BODY_TIMEOUT_S + 5.0  # then the connection goes, whatever was answered meanwhile
REQUEST_WAITING_BYTES = 64 * 1024  # of a body that the application has not taken: then the client has to wait
HEAD_BYTES_MAX = 128 * 1024  # of a request line and fields that are still coming
HEADERS_MAX = 100  # header fields; the SDKs send about 20
HEADER_BYTES_MAX = 64 * 1024  # of all fields together
HEAD_KEPT_BYTES = 4 * 1024  # a longer head is not remembered by its connection; the SDKs' have less than 1 KB
BODY_BYTES_MAX = 32 * 1024 * 1024  # providers take about 20 to 32 MB of JSON
DECODED_RATIO_MAX = 100  # of a compressed body, decoded to sent; prompts and pictures in base64 come to 3 to 30
DECODED_RATIO_FREE_BYTES = 1024 * 1024  # so much may come of any
DECODED_WINDOW_BYTES_MAX = 8 * 1024 * 1024  # of zstd: what RFC 9659 lets clients use
REQUEST_BYTES_MAX = 2 * BODY_BYTES_MAX  # with its framing and trailers, refused ones too; then the connection goes
READ_APART_BYTES = 128 * 1024  # a larger body is read in the helper: the worst of this size takes some 20 ms
READING_PIECE_BYTES = 256 * 1024  # of a body on its way to the helper
READING_TIMEOUT_S = 30.0  # for the helper to read a body, its start included; the worst of 32 MB takes two seconds
READINGS_WAITING_MAX = 64  # large bodies that wait for the helper
SIMULATIONS_WAITING_MAX = 1024  # test keys' calls that wait for theirs, most of them short
APART_WAITING_BYTES_MAX = 2 * 1024**3  # of all that wait for one of these helpers
SIMULATION_MEMORY_BYTES_MAX = 4 * 1024**3  # of addresses; whatever is asked of the simulator takes no machine's memory
UPLOAD_HEAD_BYTES = 256 * 1024  # read of a body that is forwarded while it arrives, before the call is decided about
UPLOAD_HELD_BYTES = 1024 * 1024  # of a body of unknown length that a hold covers at first; then it is doubled
UPLOAD_BYTES_MAX = 3 * 1024**3  # the most that any provider takes, of sound to transcribe
UPLOAD_IDLE_S = 60.0  # an upload that stands still for so long is cut, whoever is to blame
UPLOAD_TIMEOUT_S = 3600.0  # the whole upload: 2 GB at 5 Mbit/s
API_BODY_BYTES_MAX = 1024 * 1024  # the management API's own bodies
STRIPE_BODY_BYTES_MAX = 1024 * 1024  # an event of Stripe's: a subscription of twenty items has some 60 kB
SUBJECT_BYTES_MAX = 255  # an end user's or run's id
KEEP_ALIVE_S = 75  # an idle client connection

BROKE_PER_MINUTE = 60  # free operations of a capped key that has nothing left: each is an event
FREE_OBJECTS_MAX = 100_000  # of a kind, that a capped key keeps at providers for nothing: each is a row

# What a provider may do.
CONNECT_TIMEOUT_S = 10.0  # name, connection and TLS together
NEXT_ADDRESS_S = 0.25  # then the next of a name's addresses is tried beside the first (RFC 8305)
DNS_TTL_S = 30.0  # how long a name's addresses are taken for true; a failure to connect ends it
HEAD_TIMEOUT_S = 900.0  # what clients of flexible processing are told to wait; see the setting
SILENCE_TIMEOUT_S = 900.0  # in the middle of an answer, likewise
HEAD_ALONE_S = 1.0  # a stream's head waits for its first event, which may be a refusal; but not for longer
COMMENT_S = 15.0  # of silence between two events; then the client hears a comment
CALL_TIMEOUT_S = 3600.0  # the whole answer
UPSTREAM_KEEP_ALIVE_S = 15.0  # below the providers' own, so that they rarely close a connection that we pick up
HEADS_REMEMBERED_MAX = 64  # per provider, for as long as a connection rests: most requests to one begin alike
IDLE_CONNECTIONS_MAX = 1024  # kept per provider
ANSWER_HEAD_BYTES_MAX = 64 * 1024  # of an answer's head, and of whatever else surrounds its body
ANSWER_FIELDS_MAX = 200  # header fields and trailers of an answer; the providers send about 30
ANSWER_WAITING_BYTES = 64 * 1024  # of a body that the client has not taken: then the provider has to wait
WHOLE_BYTES_MAX = 1024 * 1024  # a larger request is written in pieces, so that others get their turn meanwhile
REQUEST_PIECE_BYTES = 256 * 1024
ERROR_BODY_BYTES_MAX = 1024 * 1024
FULL_ANSWER_BYTES_MAX = 1024 * 1024  # up to this an answer is read whole, so that its cost can stand in its header
MAKING_ANSWER_BYTES_MAX = 16 * 1024 * 1024  # the same for one that makes an object: its id is looked for first

# What a client may do with the answer.
WRITE_TIMEOUT_S = 60.0  # a client that takes nothing for so long is cut

# The process.
BACKLOG = 2048  # connections that wait to be accepted
WATCH_INTERVAL_S = 0.25  # how late a deadline may be noticed
SWEEP_INTERVAL_S = 1.0  # how late an expired reservation may go back
REVOCATIONS_INTERVAL_S = 0.5  # how late a call learns that another gateway has revoked its key
DELIVERIES_KEPT_DAYS = 30  # long enough to look into what a customer was told
RETENTION_INTERVAL_S = 3600.0  # how often it is looked whether events' time is over
STRIPE_MISSED_INTERVAL_S = 60.0  # how soon missed events are asked for again if Stripe does not answer
FIGURES_INTERVAL_S = 1.0  # how old the figures may be that one worker tells of another
STREAM_COST_S = 2.0  # how long a stream's end waits for the ledger to say what it was charged; then it says nothing
DRAIN_S = 30.0  # how long a stop waits for streams; afterwards they are cut and settled as estimates
FLIGHTS_MAX = 20_000  # calls at the same time; beyond it 503 before anything is held

# Quotes (see `gateway.call.quote`).
INFLIGHT_OUTPUT_TOKENS = 4096  # held per choice by default, whatever the client declared above it
INFLIGHT_OUTPUT_TOKENS_MIN = 256  # the last cents of a cap: so little is still worth a call
REMOTE_INPUT_TOKENS = 32_768  # held for input that the request only refers to, unless the cap must provably hold

# WebSockets.
SOCKET_HANDSHAKE_S = 60.0  # to answer a handshake: the ledger's time and the provider's are within it
SOCKET_CONNECT_TIMEOUT_S = CONNECT_TIMEOUT_S + 10.0  # name, connection, TLS and the handshake's answer
SOCKET_MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # one provider takes 15 MB of sound in one message, and nobody more
SOCKET_MESSAGES_WAITING = 16  # of a provider, not yet taken by the client: then it is not read on
SOCKET_WAITING_BYTES = 64 * 1024  # written and not yet taken by the other side: then its writer waits
SOCKET_FIRST_FRAME_S = 20.0  # for the message that tells what a socket is for; until then nothing is held
SOCKET_PING_S = 30.0  # between two questions whether the other side is there, and for the answer
SOCKET_IDLE_S = 900.0  # without a message either way; providers close sooner
SOCKET_S_MAX = 7200.0  # in all; providers' sessions end after 10 to 60 minutes
SOCKET_QUIET_S = 2.0  # a provider that has said nothing for so long has finished what it was at
SOCKET_FINISH_S = 20.0  # for what is in flight when a limit is reached
SOCKET_CLOSE_TIMEOUT_S = 2.0  # for the other side to answer a close
SOCKET_EXTEND_AGAIN_S = 1.0  # after a limit had no room: it may have been raised since

# Batches (see `gateway.stored.batches`).
BATCH_ROUND_S = 1.0  # between looks whether any batch is due
BATCH_LOOKS = 4  # batches asked after at the same time
BATCH_LOOK_FIRST_MS = 15_000  # until a new batch is asked after; then after an eighth of its age
BATCH_LOOK_LAST_MS = 600_000  # but at least so often
BATCH_LOOK_LEASE_MS = 900_000  # then another gateway takes a batch of which the first said no more

# A file of calls (see `gateway.api.events.export`).
EXPORT_ROWS_AT_ONCE = 500  # in memory; each is a read of its own, so that nothing waits for the whole
EXPORT_ROWS_MAX = 1_000_000  # what a spreadsheet can open

# Pipelines (see `gateway.pipelines`).
RUNS_MAX = 1000  # at the same time, in this process
RUNS_OF_KEY_MAX = 200  # of them, so that one key leaves room for others
RUN_NODES_MAX = 200  # of one specification
RUN_PARALLEL_MAX = 64  # calls of one run at the same time
RUN_TIMEOUT_MS_MAX = 3_600_000  # of a node, and of a run: no call takes longer
RUN_BYTES_MAX = 4 * 1024 * 1024  # of all outputs that one run keeps in memory
RUN_BOUND_BYTES_MAX = 16 * 1024 * 1024  # of outputs that go into a run's requests, all together; and into its result
CONTINUATION_BYTES_MAX = 8 * 1024 * 1024  # of a paused run, as its client keeps it
RUN_BODY_BYTES_MAX = 12 * 1024 * 1024  # a continuation with the results of its tools
RUN_LAND_S = 2.0  # how long the end of a canceled run waits for what its calls came to
RUN_CHARGE_S = 10.0  # how long a node waits for the ledger to say what its call was charged
RUN_LOOK_S = 0.5  # how late a run learns that another gateway was told to cancel it
