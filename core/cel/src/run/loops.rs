//! Loops, and what they collect.

use super::{Outcome, Run, Slot};
use crate::{
    fault::Fault,
    plan::{Loop, Node},
    value::{Key, Map, Value},
};
use std::sync::Arc;

impl<'p, 'a> Run<'_, 'p, 'a> {
    pub(super) fn looped(&mut self, of: &'p Loop) -> Outcome<'a> {
        let range = self.node(&of.range)?;
        self.locals[of.accu] = Slot::Lazy(&of.start);
        match (&range, of.item2) {
            (Value::List(list), None) => {
                for item in list.iter() {
                    self.locals[of.item] = Slot::Value(Ok(item));
                    if !self.round(of)? {
                        break;
                    }
                }
            }
            (Value::List(list), Some(second)) => {
                for (index, item) in list.iter().enumerate() {
                    let index = i64::try_from(index).unwrap_or(i64::MAX);
                    self.locals[of.item] = Slot::Value(Ok(Value::Int(index)));
                    self.locals[second] = Slot::Value(Ok(item));
                    if !self.round(of)? {
                        break;
                    }
                }
            }
            (Value::Map(map), second) => {
                for (key, value) in map.entries() {
                    self.locals[of.item] = Slot::Value(Ok(key.value()));
                    if let Some(second) = second {
                        self.locals[second] = Slot::Value(Ok(value));
                    }
                    if !self.round(of)? {
                        break;
                    }
                }
            }
            (other, _) => {
                let of = other.type_of();
                return Err(Fault::new(format!("got '{}', expected iterable type", of.name())));
            }
        }
        let result = self.node(&of.result);
        self.locals[of.accu] = Slot::Empty;
        result
    }

    /// One round; whether there may be another.
    fn round(&mut self, of: &'p Loop) -> Result<bool, Fault> {
        match self.node(&of.goes_on) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(fault) if fault.ends() => return Err(fault),
            _ => {}
        }
        let value = self.node(&of.step);
        if let Err(fault) = &value
            && fault.ends()
        {
            return Err(fault.clone());
        }
        self.locals[of.accu] = Slot::Value(value);
        Ok(true)
    }

    /// What is collected in a slot, taken out of it.
    fn collected(&mut self, slot: usize) -> Outcome<'a> {
        let value = self.local(slot);
        if value.is_ok() {
            self.locals[slot] = Slot::Empty;
        }
        value
    }

    pub(super) fn append(&mut self, slot: usize, item: &'p Node) -> Outcome<'a> {
        self.spend(1)?;
        let before = self.collected(slot);
        let item = self.node(item);
        for fault in [before.as_ref().err(), item.as_ref().err()].into_iter().flatten() {
            if fault.ends() {
                return Err(fault.clone());
            }
        }
        self.spend(1)?;
        match (before?, item?) {
            (Value::List(before), Value::List(item)) => Ok(before.plus(&item)),
            _ => Err(Fault::overload()),
        }
    }

    pub(super) fn insert(&mut self, slot: usize, entry: &'p [Node]) -> Outcome<'a> {
        self.spend(1)?;
        let before = self.collected(slot)?;
        let mut values = Vec::with_capacity(entry.len());
        for node in entry {
            values.push(self.node(node)?);
        }
        self.spend(1)?;
        let Value::Map(before) = before else { return Err(Fault::overload()) };
        let added: Vec<(Key<'a>, Value<'a>)> = match values.as_slice() {
            [key, value] => vec![(key.key().ok_or_else(Fault::overload)?, value.clone())],
            [Value::Map(entries)] => entries.entries().collect(),
            _ => return Err(Fault::overload()),
        };
        let mut map = match before {
            Map::Shared(map, None) => map,
            map => Arc::new(map.entries().collect()),
        };
        let all = Arc::make_mut(&mut map);
        for (key, value) in added {
            if all.contains_key(&key) {
                return Err(Fault::new(format!(
                    "insert failed: key {} already exists",
                    key.to_text()
                )));
            }
            all.insert(key, value);
        }
        Ok(Value::Map(Map::Shared(map, None)))
    }
}
