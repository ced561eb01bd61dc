"""The users of Redis, and what each may do: nothing but what the part of Tally needs that logs in as it.

docs/redis-users.md shows the same rules to operators, and says why there are three.
"""

BROKER, RELAY, CACHE = USERS = ("tally_broker", "tally_relay", "tally_cache")
SETTINGS = {BROKER: "BROKER_REDIS_URL", RELAY: "RELAY_REDIS_URL", CACHE: "CACHE_REDIS_URL"}

# PING, SELECT and what a client says of itself; not how to list or kill other clients. INFO tells operators whether the
# server throws data away.
_EVERYBODY = "+@connection -@admin -@dangerous +info"

# Celery's queues and their priorities, what is being worked on, and the answers of workers to Flower. Kombu takes its
# lock with a script. A subscription to a pattern is only granted where the same pattern stands here.
_BROKER = (
    "~default* ~mail* ~proof* ~generate.* ~_kombu.binding.* ~unacked ~unacked_index ~unacked_mutex"
    " ~*.celery.pidbox* ~celeryev.*"
    " {channels}"
    " +lpush +rpush +rpop +brpop +llen +exists +del +get +set +hget +hset +hdel +sadd +srem +smembers"
    " +zadd +zrem +zrevrangebyscore +watch +unwatch +multi +exec +discard +evalsha +script|load"
    " +publish +subscribe +unsubscribe +psubscribe +punsubscribe"
)
_BROKER_CHANNELS = "&/{database}.celery.pidbox &/{database}.celeryev/*"

# The text of answers, Stop, the tickets that call workers, what GPU workers say of themselves, and refusals.
_RELAY = (
    "~generation:* ~relay-bell:* ~ticket:* ~gpu-workers ~gpu-worker:* ~refused:* ~readyz"
    " &generation-stops"
    " +xadd +xread +xrange +get +mget +set +del +expire +incrby +decrby"
    " +zadd +zrem +zrangebyscore +zremrangebyscore +multi +exec +discard +publish +subscribe +unsubscribe"
)

# Django's cache, the counters of rate limits, open streams, and which answer is known for a request. Django's counting
# and that of open streams are scripts.
_CACHE = (
    "~cache-json:* ~minute:* ~streams:* ~answer:* ~answers:*"
    " +get +set +del +exists +expire +ttl +pttl +incrby +eval"
    " +zadd +zcard +zpopmin +zrem +zremrangebyscore +hincrby +hgetall +time"
)


def rules_of(user: str, databases: range = range(1)) -> str:
    """What a user may do, as Redis writes it; `databases` are those whose broker it may use."""
    channels = " ".join(_BROKER_CHANNELS.format(database=number) for number in databases)
    rules = {BROKER: _BROKER.format(channels=channels), RELAY: _RELAY, CACHE: _CACHE}
    return f"{rules[user]} {_EVERYBODY}"
