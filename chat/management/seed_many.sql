-- Very many customers with all that belongs to them, as if they had been here for three months. `manage.py seed_many`
-- runs this with the walls down, and replaces {users}, {answers}, {name} (of this run) and {model}.
-- The sums, the chain of the entries and their origins are right all the same: `manage.py verify_ledger` proves it.

SET LOCAL session_replication_role = replica;
SET LOCAL work_mem = '256MB';
SELECT setseed(0.5);

CREATE TEMPORARY TABLE many_price ON COMMIT DROP AS
SELECT prompt_microcredits_per_token AS prompt, completion_microcredits_per_token AS completion,
    GREATEST(effective_at, now() - interval '90 days') AS begins_at
FROM billing_price WHERE model_key = '{model}' AND effective_at <= now() ORDER BY effective_at DESC, id DESC LIMIT 1;

CREATE TEMPORARY TABLE many_users ON COMMIT DROP AS
SELECT n, nextval('accounts_user_id_seq') AS id, nextval('billing_wallet_id_seq') AS wallet_id,
    gen_random_uuid() AS topup_id,
    begins_at + (now() - begins_at - interval '1 day') * (n::float / {users}) AS joined_at
FROM generate_series(1, {users}) n, many_price;

INSERT INTO accounts_user (id, password, is_superuser, first_name, last_name, is_staff, is_active, date_joined, email,
    login_epoch, last_login)
SELECT id, '!', false, 'Customer', 'Number ' || n, false, n % 1000 <> 0, joined_at, '{name}-' || n || '@example.com', 0,
    CASE WHEN n % 3 > 0 THEN joined_at + interval '1 hour' END
FROM many_users;
INSERT INTO account_emailaddress (user_id, email, verified, "primary")
SELECT id, '{name}-' || n || '@example.com', true, true FROM many_users;

-- The third power gives a few customers very many answers, as it is in life.
CREATE TEMPORARY TABLE many_answers ON COMMIT DROP AS
SELECT a.n, u.id AS user_id, u.wallet_id, gen_random_uuid() AS hold_id, gen_random_uuid() AS id, a.prompt_tokens,
    a.completion_tokens, a.completion_tokens + 20 AS most_tokens,
    u.joined_at + interval '1 minute' + (now() - u.joined_at - interval '1 hour') * a.share AS at,
    a.prompt_tokens * p.prompt + a.completion_tokens * p.completion AS charged
FROM (SELECT n, 1 + floor({users} * power(random(), 3))::int AS user_n, 10 + floor(random() * 90)::int AS prompt_tokens,
        5 + floor(random() * 195)::int AS completion_tokens, random() AS share
    FROM generate_series(1, {answers}) n) a
JOIN many_users u ON u.n = a.user_n CROSS JOIN many_price p;

CREATE TEMPORARY TABLE many_credits ON COMMIT DROP AS
SELECT u.*, s.spent, GREATEST(100, 2 * s.spent / 1000000 + 1) * 1000000 AS credits
FROM many_users u
JOIN (SELECT m.id, COALESCE(SUM(a.charged), 0)::bigint AS spent
    FROM many_users m LEFT JOIN many_answers a ON a.user_id = m.id GROUP BY m.id) s ON s.id = u.id;

INSERT INTO billing_wallet (id, user_id, balance_microcredits, held_microcredits, created_at)
SELECT wallet_id, id, credits - spent, 0, joined_at FROM many_credits;

INSERT INTO billing_topup (id, user_id, provider, state, amount_minor, currency, credits_microcredits,
    bonus_microcredits, idempotency_key, inputs_hash, checkout_reference, checkout_url, payment_reference, refunded_minor,
    disputed_minor, refund_readings, clawed_back_microcredits, claw_back_steps, created_at, paid_at)
SELECT topup_id, id, 'sandbox', 'paid', credits / 1000000, 'usd', credits, 0, 'many', repeat('0', 64),
    'checkout-{name}-' || n, '', 'payment-{name}-' || n, 0, 0, 0, 0, 0, joined_at, joined_at
FROM many_credits WHERE n % 2 = 0;
INSERT INTO billing_paymentevent (provider, event_id, type, payload, received_at, processed_at, error)
SELECT 'sandbox', 'event-{name}-' || n, 'checkout.session.completed', '{}', joined_at, joined_at, ''
FROM many_users WHERE n % 2 = 0;

INSERT INTO billing_hold (id, wallet_id, reference, state, model_key, prompt_microcredits_per_token,
    completion_microcredits_per_token, is_from_cache, prompt_tokens, max_completion_tokens, limited_by,
    amount_microcredits, completion_tokens, charged_microcredits, created_at, expires_at, closed_at)
SELECT a.hold_id, a.wallet_id, 'generation:' || a.id, 'settled', '{model}', p.prompt, p.completion, false,
    a.prompt_tokens, a.most_tokens, '', a.prompt_tokens * p.prompt + a.most_tokens * p.completion, a.completion_tokens,
    a.charged, a.at, a.at + interval '1 hour', a.at + interval '3 seconds'
FROM (SELECT * FROM many_answers ORDER BY at) a, many_price p;

-- Numbered in the order in which they came; each with the balance after it.
CREATE TEMPORARY TABLE many_entries (LIKE billing_ledgerentry) ON COMMIT DROP;
INSERT INTO many_entries (id, wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
    inputs_hash, hold_id, reason, created_at)
SELECT id, wallet_id, kind, amount, SUM(amount) OVER (PARTITION BY wallet_id ORDER BY id), key, repeat('0', 64), hold_id,
    reason, at
FROM (SELECT nextval('billing_ledgerentry_id_seq') AS id, * FROM (
    SELECT wallet_id, CASE WHEN n % 2 = 0 THEN 'top_up' ELSE 'bonus' END AS kind, credits AS amount,
        CASE WHEN n % 2 = 0 THEN 'topup:' || topup_id ELSE 'many:{name}:' || n END AS key, NULL::uuid AS hold_id,
        'seed_many' AS reason, joined_at AS at
    FROM many_credits
    UNION ALL
    SELECT wallet_id, 'usage', -charged, 'usage:' || hold_id, hold_id, 'generation:' || id, at + interval '3 seconds'
    FROM many_answers ORDER BY at) ordered) numbered;

CREATE AGGREGATE pg_temp.many_chain (billing_ledgerentry) (SFUNC = billing_entry_hash, STYPE = bytea);
INSERT INTO billing_ledgerentry ({columns}, chain_hash)
SELECT {columns}, pg_temp.many_chain({row}) OVER (PARTITION BY wallet_id ORDER BY id) FROM many_entries ORDER BY id;

CREATE TEMPORARY TABLE many_grants ON COMMIT DROP AS
SELECT nextval('billing_grant_id_seq') AS id, e.id AS entry_id, e.wallet_id, c.credits, c.spent
FROM many_entries e JOIN many_credits c ON c.wallet_id = e.wallet_id WHERE e.kind <> 'usage';
INSERT INTO billing_grant (id, wallet_id, entry_id, amount_microcredits, remaining_microcredits)
SELECT id, wallet_id, entry_id, credits, credits - spent FROM many_grants;
INSERT INTO billing_grantuse (grant_id, entry_id, amount_microcredits)
SELECT g.id, e.id, e.amount_microcredits
FROM many_entries e JOIN many_grants g ON g.wallet_id = e.wallet_id WHERE e.kind = 'usage' ORDER BY e.id;

INSERT INTO inference_generation (id, user_id, model_id, hold_id, idempotency_key, inputs_hash, end_user, state, error,
    prompt_token_ids, prompt_tokens, max_completion_tokens, requested_completion_tokens, temperature, top_p, top_k, seed,
    stop, cache_key, text, completion_tokens, finish_reason, created_at, enqueued_at, started_at, first_token_at,
    last_token_at, ended_at)
SELECT a.id, a.user_id, '{model}', a.hold_id, 'generation:' || a.id, repeat('0', 64), '', 'completed', '', '{}',
    a.prompt_tokens, a.most_tokens, a.most_tokens, 0.7, 1, 50, 1, '{}', '', '', a.completion_tokens, 'stop', a.at, a.at,
    a.at + interval '1 second', a.at + interval '1.5 seconds', a.at + interval '3 seconds', a.at + interval '3 seconds'
FROM (SELECT * FROM many_answers ORDER BY at) a;

INSERT INTO chat_conversation (id, user_id, title, model_id, created_at, updated_at, system_prompt, parameters)
SELECT gen_random_uuid(), id, 'Talk ' || k || ' of {name}', '{model}', joined_at, joined_at + interval '1 day', '', '{}'
FROM many_users, generate_series(1, 2) k;

INSERT INTO accounts_apikey (user_id, name, prefix, secret_hash, replaced_hash, scopes, created_at)
SELECT id, 'A key', substr(md5('{name}' || n), 1, 12), repeat('0', 64), '', ARRAY['chat'], joined_at
FROM many_users WHERE n % 5 = 0;
INSERT INTO accounts_auditevent (actor_id, action, subject_id, details, object_name, created_at)
SELECT id, CASE WHEN n % 5 = 0 THEN 'key created' ELSE 'password changed' END, id,
    CASE WHEN n % 5 = 0 THEN jsonb_build_object('key', n) ELSE '{}' END,
    CASE WHEN n % 5 = 0 THEN 'key {name} ' || n ELSE '' END, joined_at
FROM many_users;

-- Refunds that two customers asked for and that were refused: they move nothing.
CREATE TEMPORARY TABLE many_refunds ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, a.hold_id, a.user_id, a.at + interval '1 hour' AS at
FROM many_answers a WHERE a.n % 100 = 0;
INSERT INTO billing_refund (id, hold_id, amount, reason, state, idempotency_key, requested_by_id, requested_at,
    decided_by_id, decided_at, error, tries, provider_reference)
SELECT id, hold_id, 1, 'seed_many', 'rejected', 'many:' || id, user_id, at, user_id, at, '', 0, '' FROM many_refunds;
INSERT INTO accounts_auditevent (actor_id, action, subject_id, details, reason, object_name, created_at)
SELECT r.user_id, action, r.user_id, jsonb_build_object('refund', r.id::text), 'seed_many', 'refund ' || r.id, r.at
FROM many_refunds r, (VALUES ('refund requested'), ('refund rejected')) deeds (action);
