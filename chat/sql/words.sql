-- The words of a text, for the search in one customer's messages (chat/search.py, which takes a question apart in the
-- same way). Each word has the customer's number before it: so the index has the words of each customer in a place of
-- their own, and a search reads nothing of anybody else.
--
-- Words are what stands between signs and blanks. Chinese, Japanese, Thai and others are written without blanks: of them
-- each two neighbouring characters count as a word, and the last one alone. The first 40,000 characters are read: all
-- their words fit into a tsvector, whatever they are, which holds a megabyte.
CREATE OR REPLACE FUNCTION chat_words(customer bigint, body text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, public, pg_temp AS $$
    WITH start AS (SELECT lower(left(body, 40000)) AS text),
    words AS (
        SELECT left(word, 64) AS word, place
        FROM start, regexp_split_to_table(text, '[\u0001-/:-@[-`{-\u00A9\u00AB-\u00B4\u00B6-\u00B9\u00BB-\u00BF\u00D7\u00F7\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF\u2E00-\u2E7F\u3000-\u3004\u3008-\u3020\u3030\uE000-\uF8FF\uFE10-\uFE6F\uFF00-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65\U0001F000-\U0001FAFF\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\uFF66-\uFF9F\U00020000-\U0003FFFF]+')
            WITH ORDINALITY AS split(word, place)
        UNION ALL
        SELECT letter || coalesce(lead(letter) OVER (PARTITION BY place ORDER BY number), ''), place
        FROM start, regexp_split_to_table(text, '[^\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\uFF66-\uFF9F\U00020000-\U0003FFFF]+')
            WITH ORDINALITY AS run(letters, place), string_to_table(letters, NULL) WITH ORDINALITY AS one(letter, number)
    )
    SELECT coalesce(string_agg(format('''%s:%s'':%s', customer, word, place), ' '), '')::tsvector FROM words
    WHERE word <> ''
$$;
