"""Settings of the workers, of the models they load, and of the text on its way to the reader. `base` imports them."""

import os
from pathlib import Path

import environ

env = environ.FileAwareEnv()

MODEL_DIR = Path(env.str("MODEL_DIR", default="~/.cache/tally/models")).expanduser()
INFERENCE_ENGINE = env.str("INFERENCE_ENGINE", default="inference.engine.batching.BatchingEngine")
INFERENCE_PRECISION = env.str("INFERENCE_PRECISION", default="auto")  # bfloat16 on a GPU, int8 on a CPU that can
INFERENCE_THREADS = env.int("INFERENCE_THREADS", default=0)  # 0: as many as torch picks
# Size of a model's key-value cache, in tokens of all layers, for all its requests together. A long conversation takes
# less than its length, because most layers keep only a window: the whole context of 12B fits into the default.
INFERENCE_CACHE_TOKENS = env.int("INFERENCE_CACHE_TOKENS", default=32_768)
# Memory for all models of one worker process: in bytes, or with 0 as a share of the GPUs' or the machine's memory.
MODEL_MEMORY_BYTES = env.int("MODEL_MEMORY_BYTES", default=0)
MODEL_MEMORY_SHARE = env.float("MODEL_MEMORY_SHARE", default=0.8)
MODEL_IDLE_SECONDS = env.float("MODEL_IDLE_SECONDS", default=1800.0)  # an unused model is unloaded then; 0: never
MODEL_WAIT_SECONDS = env.float("MODEL_WAIT_SECONDS", default=60.0)  # wait for memory while other models are in use
MODEL_TURN_SECONDS = env.float("MODEL_TURN_SECONDS", default=10.0)  # a model in use keeps its place while others wait
MODEL_RETRY_SECONDS = env.float("MODEL_RETRY_SECONDS", default=30.0)  # after a failed loading, then twice as long, ...
WORKER_SERVES_NEW_MODELS = env.bool("WORKER_SERVES_NEW_MODELS", default=False)  # besides those of its -Q
PRELOAD_MODELS: list[str] = env.list("PRELOAD_MODELS", default=[])  # loaded before a worker is ready; never idle
DEFAULT_MAX_TOKENS = env.int("DEFAULT_MAX_TOKENS", default=512)
PROMPT_MAX_CHARACTERS = env.int("PROMPT_MAX_CHARACTERS", default=200_000)
MAX_LIVE_GENERATIONS = env.int("MAX_LIVE_GENERATIONS", default=64)  # of one customer, queued and running together
MAX_RUNNING_OF_USER = env.int("MAX_RUNNING_OF_USER", default=24)  # in one worker, so that others find a place
ANSWER_CACHE_SECONDS = env.int("ANSWER_CACHE_SECONDS", default=86_400)  # 0: no cache
ANSWER_CACHE_ENTRIES = env.int("ANSWER_CACHE_ENTRIES", default=100_000)  # about 300 bytes each in Redis
HEARTBEAT_SECONDS = 2.0
QUEUE_WAIT_SECONDS = env.int("QUEUE_WAIT_SECONDS", default=300)
QUEUE_LOOK_SECONDS = env.float("QUEUE_LOOK_SECONDS", default=3.0)  # workers then look for rows whose task was lost
GENERATION_SECONDS = env.int("GENERATION_SECONDS", default=600)
SHUTDOWN_GRACE_SECONDS = env.float("SHUTDOWN_GRACE_SECONDS", default=5.0)
RELAY_COALESCE_SECONDS = 0.04  # shortest time between two entries of one stream
# For all streams of a worker together. With many streams each entry waits longer, up to a limit (docs/adr/0017).
RELAY_ENTRIES_PER_SECOND = 60 * (os.cpu_count() or 1)
RELAY_LONGEST_PAUSE_SECONDS = 0.5
RELAY_PAUSE_SECONDS = 0.005  # between two round trips of one process
RELAY_READ_PAUSE_SECONDS = 0.01  # shortest pause between two rounds of reads
RELAY_READS_PER_SECOND = 2000  # how many streams a web process reads
RELAY_LIFETIME_SECONDS = 3600  # of the stream of an answer that is being written; no answer takes longer
RELAY_AFTER_END_SECONDS = 300  # of the stream of an ended answer; later readers use the database
# A process that has sent no heartbeat for this long counts as gone.
WORKER_SILENT_SECONDS = env.float("WORKER_SILENT_SECONDS", default=10.0)
