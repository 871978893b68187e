WITH newest AS (
  SELECT user_id, item_id, max(last_ms) AS last_ms, round(sum(strength), 4) AS strength
  FROM user_item_daily
  WHERE strength > 0 AND ds > $ds::DATE - 90 AND ds <= $ds::DATE
  GROUP BY user_id, item_id
),
placed AS (
  SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY last_ms DESC, item_id) AS place
  FROM newest
)
SELECT
  user_id,
  list(item_id ORDER BY place) AS items,
  list(last_ms ORDER BY place) AS last_ms,
  list(strength ORDER BY place) AS strengths,
  count(*) AS length
FROM placed
WHERE place <= 50
GROUP BY user_id
