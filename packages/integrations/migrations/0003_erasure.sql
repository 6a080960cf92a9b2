-- Erasing a person or an organisation takes what otherwise stays for good: connections, receipts, runs and actions.
GRANT DELETE ON integrations.connection, integrations.run, integrations.action, integrations.receipt,
  integrations.setting, integrations.notice TO tributary_writer;
--> statement-breakpoint
COMMENT ON TABLE integrations.connection IS 'One owner''s link to one integration: its state, its schedule and its lease. Kept after disconnecting, because events and receipts name it; deleted when its owner or the organisation is erased.';
--> statement-breakpoint
COMMENT ON TABLE integrations.receipt IS 'What a person is given on leaving: what was revoked, deleted and kept. Also the work list of revocations that the provider has not confirmed. Kept for good; deleted when the person or the organisation is erased.';
