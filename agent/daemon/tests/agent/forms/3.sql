-- A store of form 3: version 8 was given up, version 7 is in force again and on trial,
-- version 6 lies before it and shares a module. Three batches wait, five were dropped.
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE document (
    slot TEXT PRIMARY KEY, envelope BLOB NOT NULL, digest TEXT, trust_version INTEGER) STRICT;
CREATE TABLE module (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE document_module (
    slot TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (slot, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE state (
    slot TEXT NOT NULL, function TEXT NOT NULL, module TEXT NOT NULL, role TEXT NOT NULL,
    state TEXT NOT NULL, PRIMARY KEY (slot, function, module, role)) STRICT;
CREATE TABLE failure (
    number INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE, refusal TEXT NOT NULL) STRICT;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
    class INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE (boot, sequence)) STRICT;
CREATE INDEX outbox_class ON outbox (class);
CREATE TABLE trust_root (version INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
INSERT INTO trust_root VALUES (2, CAST('root 2' AS BLOB));
INSERT INTO fact VALUES
    ('floor', '{"epoch":1,"version":8,"digest":"sha256:508bed27ef6ebd037571c66103cd052fdc6695d097c7c9c2714c85919451bd7c","trust_version":1}'),
    ('time_floor_ms', '1007'),
    ('rolled_back_from', 'sha256:508bed27ef6ebd037571c66103cd052fdc6695d097c7c9c2714c85919451bd7c'),
    ('trial', '{"document":"sha256:539cd6050763a5b200a094ae88a14c6e1359bb4ce7b8315fadaddcfbf155c50c","session":"02020202020202020202020202020202","starts":2}'),
    ('outbox', '{"appended":8,"waiting":{"samples":{"rows":1,"bytes":425},"summaries":{"rows":1,"bytes":424},"faults":{"rows":1,"bytes":306}},"untold":{"batches":5,"by_class":{"samples":4}},"dropped":{"batches":5,"by_class":{"samples":4}},"kept":[["02020202020202020202020202020202",17]]}');
INSERT INTO document VALUES
    ('current', CAST('envelope 7' AS BLOB), 'sha256:539cd6050763a5b200a094ae88a14c6e1359bb4ce7b8315fadaddcfbf155c50c', 2),
    ('previous', CAST('envelope 6' AS BLOB), 'sha256:95a186669701afc66af3d8f5c8a13cc31a62beb3fc1c9ec9650599686d613042', 1);
INSERT INTO module VALUES
    ('sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', CAST('one' AS BLOB)),
    ('sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa', CAST('shared' AS BLOB)),
    ('sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', CAST('two' AS BLOB));
INSERT INTO document_module VALUES
    ('current', 'sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed'),
    ('current', 'sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa'),
    ('previous', 'sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa'),
    ('previous', 'sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3');
INSERT INTO state VALUES
    ('current', 'setpoint', 'sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 'active', '{"count":42}'),
    ('previous', 'setpoint', 'sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 'active', '{"count":41}');
INSERT INTO failure VALUES
    (1, 'sha256:508bed27ef6ebd037571c66103cd052fdc6695d097c7c9c2714c85919451bd7c', '{"reason":"probation_failed","detail":"3 traps in 60 ticks"}');
INSERT INTO outbox VALUES
    (6, '01010101010101010101010101010101', 1, 2, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":1,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","records":[{"at_ms":1,"tick":1,"function":"setpoint","module":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","role":"active","inputs":{"hour":1.0},"params":{},"time_us":9}],"dropped_batches":0}' AS BLOB)),
    (7, '01010101010101010101010101010101', 2, 1, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":2,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","summaries":[{"function":"setpoint","module":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","role":"active","version":7,"from_ms":1,"to_ms":2,"ticks":60,"evaluations":60}],"dropped_batches":2}' AS BLOB)),
    (8, '01010101010101010101010101010101', 3, 0, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":3,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","refusals":[{"at_ms":5,"version":8,"refusal":{"reason":"rollback","detail":"version 8 of epoch 1"}}]}' AS BLOB));
PRAGMA application_id = 1196314445;
PRAGMA user_version = 3;
