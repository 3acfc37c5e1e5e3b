-- Native histograms of the samples whose value is the reserved NaN: a row per series and two hours;
-- parts of it merge by concatenation. Lists of all histograms of a row stand one after another:
-- the k-th takes positive_length[k] of positive_index and positive_count, and so on.
CREATE TABLE histograms
(
    app LowCardinality(String),
    metric LowCardinality(String),
    id FixedString(16),
    bucket Int64 CODEC(Delta, ZSTD(1)),
    min_ts SimpleAggregateFunction(min, Int64) CODEC(Delta, ZSTD(1)),
    max_ts SimpleAggregateFunction(max, Int64) CODEC(Delta, ZSTD(1)),
    ts SimpleAggregateFunction(groupArrayArray, Array(Int64)) CODEC(Delta, ZSTD(1)),
    schema SimpleAggregateFunction(groupArrayArray, Array(Int16)) CODEC(ZSTD(1)),
    reset_hint SimpleAggregateFunction(groupArrayArray, Array(Int8)) CODEC(ZSTD(1)),
    count SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    sum SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    zero_threshold SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    zero_count SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    positive_length SimpleAggregateFunction(groupArrayArray, Array(UInt32)) CODEC(ZSTD(1)),
    positive_index SimpleAggregateFunction(groupArrayArray, Array(Int32)) CODEC(ZSTD(1)),
    positive_count SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    negative_length SimpleAggregateFunction(groupArrayArray, Array(UInt32)) CODEC(ZSTD(1)),
    negative_index SimpleAggregateFunction(groupArrayArray, Array(Int32)) CODEC(ZSTD(1)),
    negative_count SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1)),
    custom_length SimpleAggregateFunction(groupArrayArray, Array(UInt32)) CODEC(ZSTD(1)),
    custom_bounds SimpleAggregateFunction(groupArrayArray, Array(Float64)) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY intDiv(bucket, 86400000)
PRIMARY KEY (app, metric, id)
ORDER BY (app, metric, id, bucket)
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
;
-- Histograms for people: a row per histogram; buckets as (number, count).
CREATE VIEW histogram_points AS
SELECT
    h.app AS app, h.metric AS metric, h.id AS id,
    h.ts[k] AS ts,
    fromUnixTimestamp64Milli(h.ts[k], 'UTC') AS time,
    h.schema[k] AS schema, h.count[k] AS count, h.sum[k] AS sum,
    h.zero_threshold[k] AS zero_threshold, h.zero_count[k] AS zero_count,
    arraySlice(arrayZip(h.positive_index, h.positive_count), 1
        + arraySum(arraySlice(h.positive_length, 1, k - 1)), h.positive_length[k]) AS positive,
    arraySlice(arrayZip(h.negative_index, h.negative_count), 1
        + arraySum(arraySlice(h.negative_length, 1, k - 1)), h.negative_length[k]) AS negative,
    arraySlice(h.custom_bounds, 1
        + arraySum(arraySlice(h.custom_length, 1, k - 1)), h.custom_length[k]) AS custom_bounds
FROM histograms AS h ARRAY JOIN arrayEnumerate(h.ts) AS k
;
-- Exemplars: a row each.
CREATE TABLE exemplars
(
    app LowCardinality(String),
    metric LowCardinality(String),
    id FixedString(16),
    ts Int64 CODEC(Delta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    names Array(LowCardinality(String)),
    values Array(String) CODEC(ZSTD(1)),
    labels Map(String, String) ALIAS mapFromArrays(names, values),
    time DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(ts, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(ts, 86400000)
ORDER BY (app, metric, id, ts, values, value)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
;
-- What senders said about metric families; seen is when it was said last (ms).
CREATE TABLE metadata
(
    metric String,
    type LowCardinality(String),
    help String,
    unit LowCardinality(String),
    seen Int64
)
ENGINE = ReplacingMergeTree(seen)
ORDER BY (metric, type, help, unit)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1
