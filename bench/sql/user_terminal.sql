WITH counted AS (
  SELECT
    user_id, terminal,
    coalesce(sum(actions) FILTER (ds > $ds::DATE - 1), 0)::INT AS actions_1d,
    coalesce(sum(actions) FILTER (ds > $ds::DATE - 7), 0)::INT AS actions_7d,
    coalesce(sum(actions) FILTER (ds > $ds::DATE - 28), 0)::INT AS actions_28d,
    coalesce(sum(impressions) FILTER (ds > $ds::DATE - 1), 0)::INT AS impressions_1d,
    coalesce(sum(impressions) FILTER (ds > $ds::DATE - 7), 0)::INT AS impressions_7d,
    coalesce(sum(impressions) FILTER (ds > $ds::DATE - 28), 0)::INT AS impressions_28d,
    coalesce(sum(clicks) FILTER (ds > $ds::DATE - 1), 0)::INT AS clicks_1d,
    coalesce(sum(clicks) FILTER (ds > $ds::DATE - 7), 0)::INT AS clicks_7d,
    coalesce(sum(clicks) FILTER (ds > $ds::DATE - 28), 0)::INT AS clicks_28d,
    coalesce(sum(logins) FILTER (ds > $ds::DATE - 1), 0)::INT AS logins_1d,
    coalesce(sum(logins) FILTER (ds > $ds::DATE - 7), 0)::INT AS logins_7d,
    coalesce(sum(logins) FILTER (ds > $ds::DATE - 28), 0)::INT AS logins_28d,
    sum(dwell_ms)::BIGINT AS dwell_ms_28d
  FROM user_terminal_daily
  WHERE ds > $ds::DATE - 28 AND ds <= $ds::DATE
  GROUP BY user_id, terminal
)
SELECT
  *,
  actions_28d / nullif(sum(actions_28d) OVER of_user, 0) AS share_28d,
  row_number() OVER (PARTITION BY user_id ORDER BY actions_28d DESC, impressions_28d DESC, terminal) = 1 AS is_main,
  count(*) OVER of_user AS terminals_28d,
  count(*) OVER of_user > 1 AS is_cross_terminal
FROM counted
WINDOW of_user AS (PARTITION BY user_id)
