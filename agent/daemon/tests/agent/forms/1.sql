-- A store as an agent of form 1 left it: the document in force is version 7, the one
-- before it version 6; they share a module. Three batches wait, five were dropped.
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE document (slot TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE module (
    digest TEXT PRIMARY KEY, slot TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
    bytes BLOB NOT NULL, UNIQUE (boot, sequence)) STRICT;
INSERT INTO fact VALUES
    ('floor', '{"epoch":1,"version":7,"digest":"sha256:539cd6050763a5b200a094ae88a14c6e1359bb4ce7b8315fadaddcfbf155c50c"}'),
    ('time_floor_ms', '1007'),
    ('dropped_batches', '5');
INSERT INTO document VALUES
    ('current', CAST('envelope 7' AS BLOB)),
    ('previous', CAST('envelope 6' AS BLOB));
INSERT INTO module VALUES
    ('sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 'current', CAST('one' AS BLOB)),
    ('sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa', 'current', CAST('shared' AS BLOB)),
    ('sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 'previous', CAST('two' AS BLOB));
INSERT INTO outbox VALUES
    (11, '01010101010101010101010101010101', 1, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":1,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","records":[{"at_ms":1,"tick":1,"function":"setpoint","module":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","role":"active","inputs":{"hour":1.0},"params":{},"time_us":9}],"dropped_batches":0}' AS BLOB)),
    (12, '01010101010101010101010101010101', 2, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":2,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","summaries":[{"function":"setpoint","module":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","role":"active","version":7,"from_ms":1,"to_ms":2,"ticks":60,"evaluations":60}],"dropped_batches":2}' AS BLOB)),
    (13, '01010101010101010101010101010101', 3, CAST('{"schema":"gnomon.results.v1","fleet":"acme","device":"heater-001","boot":"01010101010101010101010101010101","sequence":3,"engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8","refusals":[{"at_ms":5,"version":8,"refusal":{"reason":"rollback","detail":"version 8 of epoch 1"}}]}' AS BLOB));
PRAGMA application_id = 1196314445;
PRAGMA user_version = 1;
