-- Partitions of messages and events for this quarter and the next two; later ones are made by the API's
-- upkeep.

-- Makes the partition of one quarter; returns false where it is already there. A table is made first and
-- then attached: attaching takes a lock that lets reads and writes go on, CREATE TABLE … PARTITION OF
-- would stop them.
CREATE FUNCTION make_partition(parent text, quarter date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('quarter', quarter)::date;
    next_day date := (date_trunc('quarter', quarter) + interval '3 months')::date;
    name text := format('%s_%s', parent, to_char(first_day, 'YYYY"q"Q'));
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, name, first_day::text || ' 00:00+00', next_day::text || ' 00:00+00');
    RETURN true;
END
$$;

SELECT make_partition(parent, (now() AT TIME ZONE 'UTC' + ahead * interval '3 months')::date)
FROM unnest(ARRAY['messages', 'events']) AS parent, generate_series(0, 2) AS ahead;
