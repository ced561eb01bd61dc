-- What the wallet will have after this entry: what it had after the one before, which may be of the same statement. The
-- wallet is locked first and the entry numbered then, so that the numbers of a wallet's entries say in which order they
-- came. Nothing moves here: the money does once the row is there (entry_move), and not if the row is dropped.
-- With its number it gets its place in the chain of the wallet's entries (entry_hash).
CREATE OR REPLACE FUNCTION billing_entry_balance_after() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    balance bigint;
    previous bytea;
BEGIN
    PERFORM FROM billing_wallet WHERE id = NEW.wallet_id FOR UPDATE;  -- two at once: the second sees the first
    NEW.id := nextval('billing_ledgerentry_id_seq');
    SELECT e.balance_after_microcredits, e.chain_hash INTO balance, previous FROM billing_ledgerentry e
        WHERE e.wallet_id = NEW.wallet_id ORDER BY e.id DESC LIMIT 1;
    NEW.balance_after_microcredits := NEW.amount_microcredits + COALESCE(balance, 0);
    NEW.chain_hash := billing_entry_hash(previous, NEW);
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_entry_balance_after ON billing_ledgerentry;
CREATE TRIGGER billing_entry_balance_after BEFORE INSERT ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_entry_balance_after();
