-- Samples: a row per series and two hours; parts of it merge by concatenation.
-- bucket is the start of the two hours. Times are Int64 milliseconds: a DateTime64 cannot hold
-- every timestamp that a sender may invent, and partitions have to be exact for all of them.
-- A value is mantissas[i] / 10^exponent where that is exact in every bit, else raw[i], and then
-- exponent is -1. time_set is the sum, modulo 2^64, of a hash of each timestamp, so that equal
-- sums mean equal sets of timestamps however the rows were merged.
CREATE TABLE samples
(
    app LowCardinality(String),
    metric LowCardinality(String),
    id FixedString(16),
    bucket Int64 CODEC(Delta, ZSTD(1)),
    exponent Int8,
    has_starts UInt8,
    min_ts SimpleAggregateFunction(min, Int64) CODEC(Delta, ZSTD(1)),
    max_ts SimpleAggregateFunction(max, Int64) CODEC(Delta, ZSTD(1)),
    time_set SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)),
    ts SimpleAggregateFunction(groupArrayArray, Array(Int64)) CODEC(Delta, ZSTD(1)),
    mantissas SimpleAggregateFunction(groupArrayArray, Array(Int64)) CODEC(Delta, ZSTD(1)),
    raw SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    starts SimpleAggregateFunction(groupArrayArray, Array(Int64)) CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY intDiv(bucket, 86400000)
PRIMARY KEY (app, metric, id)
ORDER BY (app, metric, id, bucket, exponent, has_starts)
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
;
-- Which series had samples on which day (days since 1970-01-01).
CREATE TABLE series
(
    app LowCardinality(String),
    metric LowCardinality(String),
    id FixedString(16),
    day Int64,
    names Array(LowCardinality(String)),
    values Array(String),
    labels Map(String, String) ALIAS mapFromArrays(names, values)
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (app, metric, id)
SETTINGS index_granularity = 256,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
;
-- Samples for people: a row per sample.
CREATE VIEW sample_points AS
SELECT
    app, metric, id,
    point.1 AS ts,
    fromUnixTimestamp64Milli(point.1, 'UTC') AS time,
    point.2 AS value
FROM
(
    SELECT app, metric, id, arrayJoin(arrayZip(ts, if(exponent < 0, raw, arrayMap(
        m -> m / [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9][exponent + 1], mantissas
    )))) AS point
    FROM samples
)
;
CREATE TABLE events
(
    app LowCardinality(String),
    type LowCardinality(String),
    ts Int64 CODEC(Delta, ZSTD(1)),
    id String CODEC(ZSTD(1)),
    data String CODEC(ZSTD(3)),
    time DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(ts, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(ts, 86400000)
ORDER BY (app, type, ts, id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
