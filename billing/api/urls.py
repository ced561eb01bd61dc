"""Billing's part of /api/v1/."""

from django.urls import path

from billing.api import closing, notices, staff, wallet
from billing.api import staff_adjustments as adjustments

urlpatterns = [
    path("account/closing", closing.Closing.as_view(), name="closing"),
    path("wallet", wallet.WalletView.as_view(), name="wallet"),
    path("holds", wallet.Holds.as_view(), name="holds"),
    path("holds/<uuid:hold_id>", wallet.HoldView.as_view(), name="hold"),
    path("receipts", wallet.Receipts.as_view(), name="receipts"),
    path("receipts/<uuid:hold_id>", wallet.Receipt.as_view(), name="receipt"),
    path("ledger-entries", wallet.Entries.as_view(), name="entries"),
    path("ledger-entries/<int:entry_id>", wallet.Entry.as_view(), name="entry"),
    path("grants", wallet.Grants.as_view(), name="grants"),
    path("packages", wallet.Packages.as_view(), name="packages"),
    path("topups", wallet.TopUps.as_view(), name="topups"),
    path("topups/<uuid:topup_id>", wallet.TopUpView.as_view(), name="topup"),
    path("payments", wallet.Payments.as_view(), name="payments"),
    path("payments/<uuid:topup_id>", wallet.Payment.as_view(), name="payment"),
    path("codes", wallet.Codes.as_view(), name="codes"),
    path("usage", wallet.UsageView.as_view(), name="usage"),
    path("exports/ledger-entries.json", wallet.ExportJson.as_view(), name="export_json"),
    path("exports/ledger-entries.csv", wallet.ExportCsv.as_view(), name="export_csv"),
    path("notifications", notices.Notices.as_view(), name="notices"),
    path("notifications/<int:notice_id>/read", notices.ReadNotice.as_view(), name="notice_read"),
    path("preferences", notices.Preferences.as_view(), name="preferences"),
    path("admin/users/<int:user_id>/wallet", staff.CustomerWallet.as_view(), name="staff_wallet"),
    path("admin/users/<int:user_id>/ledger-entries", staff.CustomerEntries.as_view(), name="staff_entries"),
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
    path("admin/refunds", staff.Refunds.as_view(), name="staff_refunds"),
    path("admin/refunds/<uuid:refund_id>", staff.RefundView.as_view(), name="staff_refund"),
    path("admin/refunds/<uuid:refund_id>/approve", staff.Approve.as_view(), name="staff_refund_approve"),
    path("admin/refunds/<uuid:refund_id>/reject", staff.Reject.as_view(), name="staff_refund_reject"),
    path("admin/codes", staff.StaffCodes.as_view(), name="staff_codes"),
    path("admin/codes/stocks", staff.Stock.as_view(), name="staff_stocks"),
    path("admin/codes/<int:code_id>/approve", staff.ApproveCode.as_view(), name="staff_code_approve"),
    path("admin/codes/<int:code_id>/withdraw", staff.Withdraw.as_view(), name="staff_code_withdraw"),
    path("admin/prices", staff.Prices.as_view(), name="staff_prices"),
]
