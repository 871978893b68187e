WITH counted AS (
  SELECT
    kind, id,
    coalesce(sum(exposures) FILTER (ds > $ds::DATE - 7), 0)::INT AS exposures_7d,
    coalesce(sum(exposures) FILTER (ds > $ds::DATE - 28), 0)::INT AS exposures_28d,
    coalesce(sum(dislike) FILTER (ds > $ds::DATE - 7), 0)::INT AS dislike_7d,
    coalesce(sum(dislike) FILTER (ds > $ds::DATE - 28), 0)::INT AS dislike_28d,
    coalesce(sum(not_interested) FILTER (ds > $ds::DATE - 7), 0)::INT AS not_interested_7d,
    coalesce(sum(not_interested) FILTER (ds > $ds::DATE - 28), 0)::INT AS not_interested_28d,
    coalesce(sum(block_author) FILTER (ds > $ds::DATE - 7), 0)::INT AS block_author_7d,
    coalesce(sum(block_author) FILTER (ds > $ds::DATE - 28), 0)::INT AS block_author_28d,
    coalesce(sum(fast_skips) FILTER (ds > $ds::DATE - 7), 0)::INT AS fast_skips_7d,
    coalesce(sum(fast_skips) FILTER (ds > $ds::DATE - 28), 0)::INT AS fast_skips_28d
  FROM feedback_daily
  WHERE ds > $ds::DATE - 28 AND ds <= $ds::DATE
  GROUP BY kind, id
),
told AS (
  SELECT *, dislike_7d + not_interested_7d + block_author_7d AS told_7d, dislike_28d + not_interested_28d + block_author_28d AS told_28d
  FROM counted
)
SELECT
  * EXCLUDE (told_7d, told_28d),
  CASE WHEN sum(told_7d) OVER () > 0 THEN (told_7d + 0.25) / (greatest(exposures_7d, told_7d) + 50.0) END AS negative_rate_7d,
  CASE WHEN sum(told_28d) OVER () > 0 THEN (told_28d + 0.25) / (greatest(exposures_28d, told_28d) + 50.0) END AS negative_rate_28d,
  CASE WHEN sum(fast_skips_7d) OVER () > 0 THEN (fast_skips_7d + 2.5) / (greatest(exposures_7d, fast_skips_7d) + 50.0) END AS fast_skip_rate_7d,
  CASE WHEN sum(fast_skips_28d) OVER () > 0 THEN (fast_skips_28d + 2.5) / (greatest(exposures_28d, fast_skips_28d) + 50.0) END AS fast_skip_rate_28d
FROM told
