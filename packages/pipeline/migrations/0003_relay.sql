ALTER TABLE pipeline.position ADD COLUMN parked_at timestamptz;
--> statement-breakpoint
UPDATE pipeline.position SET parked_at = now() WHERE parked_sequence IS NOT NULL;
--> statement-breakpoint
ALTER TABLE pipeline.position ADD CONSTRAINT position_parked_whole
  CHECK ((parked_sequence IS NULL) = (parked_at IS NULL));
--> statement-breakpoint
CREATE INDEX position_parked ON pipeline.position (organization_id, connection_id) WHERE parked_sequence IS NOT NULL;
