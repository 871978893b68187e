WITH steps AS (
  SELECT user_id, action, unnest(at_ms) AS at_ms, unnest(items) AS item_id, unnest(terminals) AS terminal
  FROM user_action_daily
  WHERE ds > $ds::DATE - 90 AND ds <= $ds::DATE
),
placed AS (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY user_id, action ORDER BY at_ms DESC, item_id DESC, terminal DESC NULLS LAST
    ) AS place
  FROM steps
)
SELECT
  user_id,
  action,
  list(item_id ORDER BY place) AS items,
  list(at_ms ORDER BY place) AS at_ms,
  list(terminal ORDER BY place) AS terminals,
  count(*) AS length
FROM placed
WHERE place <= 50
GROUP BY user_id, action
