-- Keeps the words of each message beside it, whoever writes the message. An answer has none until it is written.
CREATE OR REPLACE FUNCTION chat_keep_words() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.text = '' THEN
        RETURN NULL;
    END IF;
    INSERT INTO chat_messagewords (message_id, words)
        SELECT NEW.id, chat_words(user_id, NEW.text) FROM chat_conversation WHERE id = NEW.conversation_id
        ON CONFLICT (message_id) DO UPDATE SET words = EXCLUDED.words;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS chat_keep_words ON chat_message;
CREATE TRIGGER chat_keep_words AFTER INSERT OR UPDATE OF text ON chat_message
    FOR EACH ROW EXECUTE FUNCTION chat_keep_words();
