//! Where in a TOML text a key stands, and which key stands at a place.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step into a document: a key of a table, or an element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Element(usize),
}

/// Line and column, both from 1, of a byte offset; columns count characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The byte offset of the key at `path`, or of the last part of the path that exists. `None` if not even the first
/// does, after a single name has been looked for in all tables.
pub(crate) fn of_key(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut parts = path.split('.');
    let first = parts.next()?;
    let Some((key, mut value)) = entry(document.get_ref(), first) else {
        return find_anywhere(document.get_ref(), path);
    };
    let mut offset = key;
    for part in parts {
        let next = match value.get_ref() {
            DeValue::Table(table) => entry(table, part),
            DeValue::Array(array) => {
                part.parse().ok().and_then(|at: usize| array.get(at)).map(|inner| (inner.span().start, inner))
            }
            _ => None,
        };
        let Some((at, inner)) = next else { break };
        (offset, value) = (at, inner);
    }
    Some(offset)
}

/// The way to whatever covers `span`; the deepest key whose own text or value does. Empty for the top level.
pub(crate) fn path_at(text: &str, span: &Range<usize>) -> Vec<Step> {
    let mut path = Vec::new();
    if let Ok(document) = DeTable::parse(text) {
        walk_table(document.get_ref(), span, &mut path);
    }
    path
}

fn entry<'a, 't>(table: &'a DeTable<'t>, name: &str) -> Option<(usize, &'a Spanned<DeValue<'t>>)> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, value)| (key.span().start, value))
}

fn find_anywhere(table: &DeTable, name: &str) -> Option<usize> {
    if let Some((at, _)) = entry(table, name) {
        return Some(at);
    }
    table.iter().find_map(|(_, value)| find_in_value(value.get_ref(), name))
}

fn find_in_value(value: &DeValue, name: &str) -> Option<usize> {
    match value {
        DeValue::Table(table) => find_anywhere(table, name),
        DeValue::Array(array) => array.iter().find_map(|inner| find_in_value(inner.get_ref(), name)),
        _ => None,
    }
}

fn walk_table(table: &DeTable, span: &Range<usize>, path: &mut Vec<Step>) -> bool {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        if covers(&key.span(), span) || walk_value(value, span, path) {
            return true;
        }
        path.pop();
    }
    false
}

fn walk_value(value: &Spanned<DeValue>, span: &Range<usize>, path: &mut Vec<Step>) -> bool {
    // A table's own span is only its header, so what is inside is looked at whatever the span says.
    let inside = match value.get_ref() {
        DeValue::Table(table) => walk_table(table, span, path),
        DeValue::Array(array) => array.iter().enumerate().any(|(at, inner)| {
            path.push(Step::Element(at));
            let found = walk_value(inner, span, path);
            if !found {
                path.pop();
            }
            found
        }),
        _ => false,
    };
    inside || covers(&value.span(), span)
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
