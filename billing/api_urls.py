"""Billing's part of /api/v1/."""

from django.urls import path

from billing import api, api_account, api_notices, api_staff
from billing import api_staff_adjustments as adjustments

urlpatterns = [
    path("account/closing", api_account.Closing.as_view(), name="closing"),
    path("wallet", api.WalletView.as_view(), name="wallet"),
    path("holds", api.Holds.as_view(), name="holds"),
    path("holds/<uuid:hold_id>", api.HoldView.as_view(), name="hold"),
    path("receipts", api.Receipts.as_view(), name="receipts"),
    path("receipts/<uuid:hold_id>", api.Receipt.as_view(), name="receipt"),
    path("ledger-entries", api.Entries.as_view(), name="entries"),
    path("ledger-entries/<int:entry_id>", api.Entry.as_view(), name="entry"),
    path("grants", api.Grants.as_view(), name="grants"),
    path("packages", api.Packages.as_view(), name="packages"),
    path("topups", api.TopUps.as_view(), name="topups"),
    path("topups/<uuid:topup_id>", api.TopUpView.as_view(), name="topup"),
    path("payments", api.Payments.as_view(), name="payments"),
    path("payments/<uuid:topup_id>", api.Payment.as_view(), name="payment"),
    path("codes", api.Codes.as_view(), name="codes"),
    path("usage", api.UsageView.as_view(), name="usage"),
    path("exports/ledger-entries.json", api.ExportJson.as_view(), name="export_json"),
    path("exports/ledger-entries.csv", api.ExportCsv.as_view(), name="export_csv"),
    path("notifications", api_notices.Notices.as_view(), name="notices"),
    path("notifications/<int:notice_id>/read", api_notices.ReadNotice.as_view(), name="notice_read"),
    path("preferences", api_notices.Preferences.as_view(), name="preferences"),
    path("admin/users/<int:user_id>/wallet", api_staff.CustomerWallet.as_view(), name="staff_wallet"),
    path("admin/users/<int:user_id>/ledger-entries", api_staff.CustomerEntries.as_view(), name="staff_entries"),
    path("admin/users/<int:user_id>/adjustments", adjustments.CustomerAdjustments.as_view(), name="staff_adjust"),
    path("admin/adjustments", adjustments.Adjustments.as_view(), name="staff_adjustments"),
    path("admin/adjustments/<uuid:adjustment_id>", adjustments.AdjustmentView.as_view(), name="staff_adjustment"),
    path(
        "admin/adjustments/<uuid:adjustment_id>/approve",
        adjustments.ApproveAdjustment.as_view(),
        name="staff_adjustment_approve",
    ),
    path(
        "admin/adjustments/<uuid:adjustment_id>/reject",
        adjustments.RejectAdjustment.as_view(),
        name="staff_adjustment_reject",
    ),
    path("admin/refunds", api_staff.Refunds.as_view(), name="staff_refunds"),
    path("admin/refunds/<uuid:refund_id>", api_staff.RefundView.as_view(), name="staff_refund"),
    path("admin/refunds/<uuid:refund_id>/approve", api_staff.Approve.as_view(), name="staff_refund_approve"),
    path("admin/refunds/<uuid:refund_id>/reject", api_staff.Reject.as_view(), name="staff_refund_reject"),
    path("admin/codes", api_staff.StaffCodes.as_view(), name="staff_codes"),
    path("admin/codes/stocks", api_staff.Stock.as_view(), name="staff_stocks"),
    path("admin/codes/<int:code_id>/approve", api_staff.ApproveCode.as_view(), name="staff_code_approve"),
    path("admin/codes/<int:code_id>/withdraw", api_staff.Withdraw.as_view(), name="staff_code_withdraw"),
    path("admin/prices", api_staff.Prices.as_view(), name="staff_prices"),
]
