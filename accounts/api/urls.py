"""The accounts' part of /api/v1/."""

from django.urls import path

from accounts.api import account, login, staff

urlpatterns = [
    path("auth/register", login.Register.as_view(), name="register"),
    path("auth/token", login.Token.as_view(), name="token"),
    path("auth/token/refresh", login.Refresh.as_view(), name="token_refresh"),
    path("auth/token/verify", login.Verify.as_view(), name="token_verify"),
    path("auth/logout", login.Logout.as_view(), name="logout"),
    path("auth/password/change", login.PasswordChange.as_view(), name="password_change"),
    path("auth/password/reset", login.PasswordReset.as_view(), name="password_reset"),
    path("auth/password/reset/confirm", login.PasswordResetConfirm.as_view(), name="password_reset_confirm"),
    path("auth/verify-email", login.VerifyEmail.as_view(), name="verify_email"),
    path("auth/verify-email/resend", login.VerifyEmailResend.as_view(), name="verify_email_resend"),
    path("sessions", login.Sessions.as_view(), name="sessions"),
    path("sessions/<uuid:session_id>", login.Session.as_view(), name="session"),
    path("account/export", account.DataExport.as_view(), name="data_export"),
    path("me", account.Me.as_view(), name="me"),
    path("keys", account.Keys.as_view(), name="keys"),
    path("keys/<int:key_id>", account.Key.as_view(), name="key"),
    path("keys/<int:key_id>/rotate", account.Rotate.as_view(), name="key_rotate"),
    path("admin/users", staff.Users.as_view(), name="staff_users"),
    path("admin/users/<int:user_id>", staff.UserView.as_view(), name="staff_user"),
    path("admin/users/<int:user_id>/suspend", staff.Suspend.as_view(), name="staff_suspend"),
    path("admin/users/<int:user_id>/restore", staff.Restore.as_view(), name="staff_restore"),
    path("admin/users/<int:user_id>/end-log-ins", staff.EndLogins.as_view(), name="staff_end_logins"),
    path("admin/audit", staff.Audit.as_view(), name="staff_audit"),
]
