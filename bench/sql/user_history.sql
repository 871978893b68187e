WITH bought AS (
  SELECT user_id, list(DISTINCT item_id ORDER BY item_id) AS items
  FROM user_item_daily
  WHERE purchases > 0 AND ds > $ds::DATE - 365 AND ds <= $ds::DATE
  GROUP BY user_id
),
seen AS (
  SELECT
    user_id,
    min(ds) AS first_seen_ds,
    max(ds) AS last_seen_ds,
    count(*) AS days_seen,
    min(ds) FILTER (purchases > 0) AS first_bought_ds,
    max(ds) FILTER (purchases > 0) AS last_bought_ds,
    coalesce(sum(targets), 0)::BIGINT AS targets,
    coalesce(sum(purchases), 0)::BIGINT AS purchases,
    coalesce(sum(amount_minor), 0)::BIGINT AS amount_minor
  FROM user_daily
  WHERE ds > $ds::DATE - 365 AND ds <= $ds::DATE
  GROUP BY user_id
)
SELECT seen.*, first_bought_ds IS NOT NULL AS ever_bought, coalesce(bought.items, []) AS bought_items
FROM seen LEFT JOIN bought USING (user_id)
