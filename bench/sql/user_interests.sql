WITH taste AS (
  SELECT user_id, item_id, sum(strength * pow(0.5, ($ds::DATE - ds) / 14.0)) AS weight
  FROM user_item_daily
  WHERE strength > 0 AND ds > $ds::DATE - 90 AND ds <= $ds::DATE
  GROUP BY user_id, item_id
),
named AS (
  UNPIVOT (
    SELECT
      item_id,
      category,
      brand,
      creator_id::VARCHAR AS creator,
      CASE WHEN price_minor > 0 THEN floor(log2(price_minor))::BIGINT::VARCHAR END AS price_band
    FROM items
    WHERE ds = $ds::DATE
  ) ON category, brand, creator, price_band INTO NAME kind VALUE value
),
weights AS (
  SELECT user_id, kind, value, sum(weight) AS weight
  FROM taste JOIN named USING (item_id)
  GROUP BY user_id, kind, value
),
placed AS (
  SELECT
    *,
    weight / sum(weight) OVER (PARTITION BY user_id, kind) AS share,
    row_number() OVER (PARTITION BY user_id, kind ORDER BY round(weight, 6) DESC, value) AS place
  FROM weights
)
SELECT user_id, kind, value, weight, share
FROM placed
WHERE place <= 20
