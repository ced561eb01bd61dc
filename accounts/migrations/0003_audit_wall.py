"""The wall of the audit log: an event is never changed or deleted."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION accounts_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of the audit log is refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER accounts_audit_keep BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_refuse();
"""

BACKWARD = """
DROP TRIGGER accounts_audit_keep ON accounts_auditevent;
DROP FUNCTION accounts_audit_refuse();
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("accounts", "0002_audit")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
