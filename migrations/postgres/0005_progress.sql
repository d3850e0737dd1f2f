-- What a run's progress is judged by: when a stream was begun, and how many records it is expected to hold.
ALTER TABLE sync_run_streams ADD COLUMN begun_at BIGINT;
ALTER TABLE sync_run_streams ADD COLUMN expected BIGINT;
-- Records that the last complete full pass read.
ALTER TABLE stream_passes ADD COLUMN records BIGINT;
