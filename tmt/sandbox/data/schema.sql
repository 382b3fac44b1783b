-- The tables of the sandbox. A change of them needs another `_LAYOUT` in store.py.
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_of_payment_intent
    ON objects (json_extract(body, '$.payment_intent'), seq)
    WHERE kind = 'charge' OR kind = 'dispute' OR kind = 'refund' OR kind = 'review';
CREATE INDEX IF NOT EXISTS objects_of_customer
    ON objects (json_extract(body, '$.customer'), seq)
    WHERE kind = 'charge' OR kind = 'credit_note' OR kind = 'invoice' OR kind = 'invoiceitem'
        OR kind = 'payment_intent' OR kind = 'payment_method' OR kind = 'subscription';
CREATE INDEX IF NOT EXISTS invoices_of_subscription
    ON objects (json_extract(body, '$.parent.subscription_details.subscription'))
    WHERE kind = 'invoice';
CREATE INDEX IF NOT EXISTS payments_of_invoice
    ON objects (json_extract(body, '$.invoice')) WHERE kind = 'invoice_payment';
CREATE INDEX IF NOT EXISTS events_by_time ON objects (kind, created) WHERE kind = 'event';
CREATE INDEX IF NOT EXISTS transactions_settling
    ON objects (kind, json_extract(body, '$.status'), json_extract(body, '$.available_on'))
    WHERE kind = 'balance_transaction';
CREATE INDEX IF NOT EXISTS transactions_by_time
    ON objects (kind, json_extract(body, '$.available_on')) WHERE kind = 'balance_transaction';
CREATE INDEX IF NOT EXISTS transactions_by_payout
    ON objects (kind, json_extract(body, '$._payout'), json_extract(body, '$.available_on'))
    WHERE kind = 'balance_transaction';
CREATE INDEX IF NOT EXISTS transactions_not_paid_out
    ON objects (kind, json_extract(body, '$.available_on'))
    WHERE kind = 'balance_transaction' AND json_extract(body, '$._payout') IS NULL;
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
