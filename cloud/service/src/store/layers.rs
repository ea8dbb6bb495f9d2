//! Groups, and layers with the revision that an ETag shows.

use gnomon_cloud_core::{Group, Layer};
use gnomon_schemas::ids::GroupId;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

use super::{StoreError, parsed, signed, unsigned};

/// A layer and how often it was edited.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredLayer {
    /// The layer.
    pub layer: Layer,
    /// 0 when it was never written.
    pub revision: u64,
}

fn read_layer(body: &str) -> Result<Layer, StoreError> {
    Layer::parse(body.as_bytes())
        .map_err(|error| StoreError::Corrupt { what: "layer", message: error.to_string() })
}

/// The layer of a scope (`fleet`, `group:NAME`, `device:NAME`); an empty one if there is none.
pub fn find(db: &Connection, scope: &str) -> Result<StoredLayer, StoreError> {
    let sql = "SELECT body, revision FROM layers WHERE scope = ?1";
    let row = db
        .prepare(sql)?
        .query_row([scope], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    let Some((body, revision)) = row else { return Ok(StoredLayer::default()) };
    Ok(StoredLayer { layer: read_layer(&body)?, revision: unsigned(revision) })
}

/// Every layer by scope.
pub fn list(db: &Connection) -> Result<BTreeMap<String, Layer>, StoreError> {
    let mut statement = db.prepare("SELECT scope, body FROM layers")?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (scope, body) = row?;
        Ok((scope, read_layer(&body)?))
    })
    .collect()
}

/// Stores a layer with its revision.
pub fn put(db: &Connection, scope: &str, layer: &StoredLayer) -> Result<(), StoreError> {
    let sql = "INSERT INTO layers VALUES (?1, ?2, ?3)
               ON CONFLICT (scope) DO UPDATE SET body = ?2, revision = ?3";
    db.execute(sql, params![scope, layer.layer.to_json(), signed(layer.revision)])?;
    Ok(())
}

/// Every group by name.
pub fn groups(db: &Connection) -> Result<BTreeMap<GroupId, Group>, StoreError> {
    let mut statement = db.prepare("SELECT name, selector, priority FROM groups")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
    })?;
    rows.map(|row| {
        let (name, selector, priority) = row?;
        let selector = parsed("selector", &selector)?;
        Ok((parsed("group", &name)?, Group { selector, priority }))
    })
    .collect()
}

/// Stores a group.
pub fn put_group(db: &Connection, name: &GroupId, group: &Group) -> Result<(), StoreError> {
    let sql = "INSERT INTO groups VALUES (?1, ?2, ?3)
               ON CONFLICT (name) DO UPDATE SET selector = ?2, priority = ?3";
    db.execute(sql, params![name.as_str(), group.selector.to_string(), group.priority])?;
    Ok(())
}

/// Takes a group and its layer out.
pub fn remove_group(db: &Connection, name: &GroupId) -> Result<(), StoreError> {
    db.execute("DELETE FROM layers WHERE scope = ?1", [format!("group:{name}")])?;
    db.execute("DELETE FROM groups WHERE name = ?1", [name.as_str()])?;
    Ok(())
}
