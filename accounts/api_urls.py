"""The accounts' part of /api/v1/."""

from django.urls import path

from accounts import api, api_login, api_staff

urlpatterns = [
    path("auth/register", api_login.Register.as_view(), name="register"),
    path("auth/token", api_login.Token.as_view(), name="token"),
    path("auth/token/refresh", api_login.Refresh.as_view(), name="token_refresh"),
    path("auth/token/verify", api_login.Verify.as_view(), name="token_verify"),
    path("auth/logout", api_login.Logout.as_view(), name="logout"),
    path("auth/password/change", api_login.PasswordChange.as_view(), name="password_change"),
    path("auth/password/reset", api_login.PasswordReset.as_view(), name="password_reset"),
    path("auth/password/reset/confirm", api_login.PasswordResetConfirm.as_view(), name="password_reset_confirm"),
    path("auth/verify-email", api_login.VerifyEmail.as_view(), name="verify_email"),
    path("auth/verify-email/resend", api_login.VerifyEmailResend.as_view(), name="verify_email_resend"),
    path("sessions", api_login.Sessions.as_view(), name="sessions"),
    path("sessions/<uuid:session_id>", api_login.Session.as_view(), name="session"),
    path("account/export", api.DataExport.as_view(), name="data_export"),
    path("me", api.Me.as_view(), name="me"),
    path("keys", api.Keys.as_view(), name="keys"),
    path("keys/<int:key_id>", api.Key.as_view(), name="key"),
    path("keys/<int:key_id>/rotate", api.Rotate.as_view(), name="key_rotate"),
    path("admin/users", api_staff.Users.as_view(), name="staff_users"),
    path("admin/users/<int:user_id>", api_staff.UserView.as_view(), name="staff_user"),
    path("admin/users/<int:user_id>/suspend", api_staff.Suspend.as_view(), name="staff_suspend"),
    path("admin/users/<int:user_id>/restore", api_staff.Restore.as_view(), name="staff_restore"),
    path("admin/users/<int:user_id>/end-log-ins", api_staff.EndLogins.as_view(), name="staff_end_logins"),
    path("admin/audit", api_staff.Audit.as_view(), name="staff_audit"),
]
