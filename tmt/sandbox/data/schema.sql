-- The tables of the sandbox. A change of them needs another `_LAYOUT` in store.py.
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_payment_intent
    ON objects (json_extract(body, '$.payment_intent'));
CREATE INDEX IF NOT EXISTS objects_settling
    ON objects (json_extract(body, '$.status'), json_extract(body, '$.available_on'))
    WHERE json_extract(body, '$.available_on') IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_payout
    ON objects (json_extract(body, '$._payout'), json_extract(body, '$.available_on'))
    WHERE json_extract(body, '$.available_on') IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_balance
    ON objects (json_extract(body, '$.available_on'), json_extract(body, '$.currency'),
        json_extract(body, '$.net'), seq)
    WHERE json_extract(body, '$.available_on') IS NOT NULL;
CREATE TABLE IF NOT EXISTS deliveries (
    event TEXT NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL,
    delivered INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0,
    leased REAL NOT NULL DEFAULT 0, PRIMARY KEY (event, endpoint));
CREATE INDEX IF NOT EXISTS deliveries_endpoint ON deliveries (endpoint);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER, answer TEXT NOT NULL, duration REAL NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_event ON attempts (event);
CREATE TABLE IF NOT EXISTS timers (
    id INTEGER PRIMARY KEY, due REAL NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
    argument TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS timers_due ON timers (due);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, match TEXT NOT NULL, times INTEGER,
    share REAL NOT NULL, details TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock (ahead REAL NOT NULL);
INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT * FROM clock);
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, created REAL NOT NULL, endpoint TEXT NOT NULL,
    fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
