//! Custom sections of a WebAssembly binary: dropping and appending them.
//! Refuses to know what any other section means; all are copied as they are.

use anyhow::{Context as _, Result};

/// Magic number and version, the same length for modules and components.
const PREAMBLE_BYTES: usize = 8;
/// Layer field of the preamble: a component's sections may hold further binaries.
const LAYER: std::ops::Range<usize> = 6..8;
const LAYER_COMPONENT: [u8; 2] = [1, 0];

const ID_CUSTOM: u8 = 0;
const ID_COMPONENT_CORE_MODULE: u8 = 1;
const ID_COMPONENT_COMPONENT: u8 = 4;

/// The binary without custom sections but those whose name `keep` accepts; the
/// same for every binary nested in it.
pub(crate) fn keep_custom(binary: &[u8], keep: fn(&str) -> bool) -> Result<Vec<u8>> {
    let truncated = "the WebAssembly binary is cut short";
    let (preamble, mut rest) = binary.split_at_checked(PREAMBLE_BYTES).context(truncated)?;
    let nests = preamble.get(LAYER) == Some(&LAYER_COMPONENT[..]);
    let mut out = preamble.to_vec();
    while let Some((&id, after_id)) = rest.split_first() {
        let (size, after_size) = read_u32(after_id).context(truncated)?;
        let (body, next) = after_size.split_at_checked(size).context(truncated)?;
        rest = next;
        match id {
            ID_CUSTOM if !keep(custom_name(body).context(truncated)?) => {}
            ID_COMPONENT_CORE_MODULE | ID_COMPONENT_COMPONENT if nests => {
                append(&mut out, id, &keep_custom(body, keep)?)?;
            }
            _ => append(&mut out, id, body)?,
        }
    }
    Ok(out)
}

/// Adds a custom section at the end of the outermost binary.
pub(crate) fn append_custom(binary: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<()> {
    let mut body = Vec::new();
    write_u32(&mut body, name.len())?;
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    append(binary, ID_CUSTOM, &body)
}

fn append(out: &mut Vec<u8>, id: u8, body: &[u8]) -> Result<()> {
    out.push(id);
    write_u32(out, body.len())?;
    out.extend_from_slice(body);
    Ok(())
}

fn custom_name(body: &[u8]) -> Option<&str> {
    let (length, rest) = read_u32(body)?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// Reads an unsigned LEB128 number: its value and what follows it.
fn read_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u32;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

fn write_u32(out: &mut Vec<u8>, value: usize) -> Result<()> {
    let mut value = u32::try_from(value).context("a section has more than 4 GiB")?;
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    Ok(())
}
