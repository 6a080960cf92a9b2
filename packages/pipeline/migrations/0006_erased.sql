ALTER TABLE pipeline.position ADD COLUMN erased bigint NOT NULL DEFAULT 0;
--> statement-breakpoint
COMMENT ON COLUMN pipeline.position.erased IS 'The last sequence that an owner has erased: what is missing up to there was not lost, and nothing of it may be kept.';
