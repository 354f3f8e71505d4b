//! Expressions as they are run: names looked up, constants put together, costs known as far as they can be.

use crate::{
    ast::{Expr, Field, Fold, Kind, Literal, op},
    charge::Charge,
    checker::{Checked, Meaning},
    fault::Fault,
    library::{self, Function},
    types::Type,
    value::{Text, Value},
};
use regex::Regex;
use std::sync::Arc;

/// A step of a program.
#[derive(Debug)]
pub(crate) enum Node {
    Const(Value<'static>),
    /// A path into a value; as a step of its own it costs a unit.
    Path(Box<Path>),
    Call(Box<Call>),
    And(Vec<Node>),
    Or(Vec<Node>),
    List {
        elements: Vec<Node>,
        optional: Vec<usize>,
    },
    Map(Vec<(Node, Node, bool)>),
    /// Of a name, with its fields.
    Struct(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    Loop(Box<Loop>),
    /// Whether a value is one of these.
    Among(Box<Node>, Vec<Value<'static>>),
    /// `or` and `orValue`, which look at the second only when it is needed.
    Otherwise {
        optional: Box<Node>,
        other: Box<Node>,
        unwrap: bool,
    },
    /// What a loop collected, and one item more.
    Append {
        slot: usize,
        item: Box<Node>,
    },
    /// What a loop collected, and an entry more.
    Insert {
        slot: usize,
        entry: Vec<Node>,
    },
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: Function,
    pub(crate) name: Arc<str>,
    pub(crate) charge: Charge,
    /// The pattern among its arguments, where it is known.
    pub(crate) pattern: Option<Regex>,
    pub(crate) args: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) base: Base,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) enum Base {
    /// A variable of the whole program.
    Global(usize),
    /// A variable of a loop.
    Local(usize),
    Of(Node),
    Either {
        condition: Node,
        yes: Box<Path>,
        no: Box<Path>,
    },
}

#[derive(Debug)]
pub(crate) enum Step {
    Field(Arc<str>, bool),
    /// An index that is known.
    At(Value<'static>, bool),
    /// An index that is not.
    By(Node, bool),
    /// Whether the field is there.
    Test(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) range: Node,
    pub(crate) accu: usize,
    pub(crate) item: usize,
    pub(crate) item2: Option<usize>,
    pub(crate) start: Node,
    pub(crate) goes_on: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

/// A planned expression.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    /// The names of its variables.
    pub(crate) globals: Vec<Arc<str>>,
    /// How many values loops keep at a time.
    pub(crate) locals: usize,
}

/// Plans a checked expression.
pub(crate) fn plan(expr: &Expr, checked: &Checked) -> Result<Plan, String> {
    let mut planner = Planner { checked, globals: Vec::new(), scope: Vec::new(), deepest: 0 };
    let root = planner.node(expr)?;
    Ok(Plan { root, globals: planner.globals, locals: planner.deepest })
}

struct Planner<'c> {
    checked: &'c Checked,
    globals: Vec<Arc<str>>,
    /// The variables of loops around, by slot; those that are not visible have no name.
    scope: Vec<Option<Arc<str>>>,
    deepest: usize,
}

type Planned<T = Node> = Result<T, String>;

impl Planner<'_> {
    fn nodes<'e>(&mut self, list: impl IntoIterator<Item = &'e Expr>) -> Planned<Vec<Node>> {
        list.into_iter().map(|expr| self.node(expr)).collect()
    }

    fn node(&mut self, expr: &Expr) -> Planned {
        match &expr.kind {
            Kind::Literal(literal) => Ok(Node::Const(of_literal(literal))),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, test } => {
                if let Some(Meaning::Ident(name)) = self.checked.meanings.get(&expr.id) {
                    return self.ident(expr, &name.clone());
                }
                let step = match test {
                    true => Step::Test(field.clone()),
                    false => Step::Field(field.clone(), false),
                };
                let operand = self.node(operand)?;
                Ok(extended(operand, step))
            }
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List { elements, optional } => {
                let nodes = self.nodes(elements)?;
                let all: Option<Vec<_>> = nodes.iter().map(constant).collect();
                match all {
                    Some(items) if optional.is_empty() => Ok(Node::Const(items.into())),
                    _ => Ok(Node::List { elements: nodes, optional: optional.clone() }),
                }
            }
            Kind::Map(entries) => {
                let mut planned = Vec::with_capacity(entries.len());
                for entry in entries {
                    planned.push((
                        self.node(&entry.key)?,
                        self.node(&entry.value)?,
                        entry.optional,
                    ));
                }
                let all: Option<Vec<_>> = planned
                    .iter()
                    .map(|(key, value, optional)| {
                        Some((constant(key)?.key()?, constant(value).filter(|_| !optional)?))
                    })
                    .collect();
                Ok(match all {
                    Some(entries) => Node::Const(library::map_of(entries)),
                    None => Node::Map(planned),
                })
            }
            Kind::Struct { name, fields } => {
                let name = name.strip_prefix('.').map_or_else(|| name.clone(), Into::into);
                let made = fields.iter().map(|Field { name, value, optional, .. }| {
                    Ok((crate::escape::unescape(name).into(), self.node(value)?, *optional))
                });
                Ok(Node::Struct(name, made.collect::<Planned<_>>()?))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, expr: &Expr, name: &Arc<str>) -> Planned {
        let local = self.scope.iter().rposition(|local| local.as_ref() == Some(name));
        if let Some(slot) = local {
            return Ok(path(Base::Local(slot)));
        }
        if let Type::Type(of) = self.checked.of(expr) {
            return Ok(Node::Const(Value::Type(of.clone())));
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        let known = self.globals.iter().position(|global| **global == *plain);
        let slot = known.unwrap_or_else(|| {
            self.globals.push(plain.into());
            self.globals.len() - 1
        });
        Ok(path(Base::Global(slot)))
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &Arc<str>,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Planned {
        let (name, form, whole) = match self.checked.meanings.get(&expr.id) {
            Some(Meaning::Function(name, forms, whole)) => match forms.as_slice() {
                [form] => (name.clone(), *form, *whole),
                _ => (name.clone(), "", *whole),
            },
            _ => (function.clone(), "", false),
        };
        let target = target.filter(|_| !whole);
        let mut nodes = self.nodes(target.into_iter().chain(args))?;
        match &*name {
            op::AND => return Ok(Node::And(nodes)),
            op::OR => return Ok(Node::Or(nodes)),
            op::CONDITIONAL if nodes.len() == 3 => {
                let (no, yes) = (nodes.pop(), nodes.pop());
                if let (Some(condition), Some(yes), Some(no)) = (nodes.pop(), yes, no) {
                    let (yes, no) = (Box::new(as_path(yes)), Box::new(as_path(no)));
                    return Ok(path(Base::Either { condition, yes, no }));
                }
            }
            op::INDEX | op::OPT_INDEX | op::OPT_SELECT if nodes.len() == 2 => {
                let optional = &*name != op::INDEX;
                if let (Some(index), Some(operand)) = (nodes.pop(), nodes.pop()) {
                    let step = match index {
                        Node::Const(Value::String(text)) => Step::At(Value::String(text), optional),
                        Node::Const(value) => Step::At(value, optional),
                        node => Step::By(node, optional),
                    };
                    return Ok(extended(operand, step));
                }
            }
            "or" | "orValue" if nodes.len() == 2 && target.is_some() => {
                if let (Some(other), Some(optional)) = (nodes.pop(), nodes.pop()) {
                    let (optional, other) = (Box::new(optional), Box::new(other));
                    return Ok(Node::Otherwise { optional, other, unwrap: &*name == "orValue" });
                }
            }
            _ => {}
        }
        self.optimized(&name, form, nodes)
    }

    /// A call, or what it comes to where that is known.
    fn optimized(&mut self, name: &Arc<str>, form: &'static str, nodes: Vec<Node>) -> Planned {
        if &**name == "cel.@mapInsert" {
            // Only loops make these, and do it themselves.
            let args = nodes;
            let charge = Charge::Fixed(1);
            let function: Function = |_| Err(Fault::overload());
            let call = Call { function, name: name.clone(), charge, pattern: None, args };
            return Ok(Node::Call(Box::new(call)));
        }
        let Some(function) = library::function(name, form) else {
            return Err(format!("no such overload: {name}"));
        };
        if form == "in_list"
            && let [_, Node::Const(Value::List(list))] = nodes.as_slice()
        {
            let items: Vec<Value<'static>> = list.iter().collect();
            let primitive = items.iter().all(|item| {
                matches!(
                    item,
                    Value::Bool(_)
                        | Value::Int(_)
                        | Value::Uint(_)
                        | Value::Double(_)
                        | Value::String(_)
                )
            });
            if items.is_empty() {
                return Ok(Node::Const(Value::Bool(false)));
            }
            if primitive {
                let mut nodes = nodes;
                return Ok(Node::Among(Box::new(nodes.swap_remove(0)), items));
            }
        }
        if library::is_conversion(name)
            && let [Node::Const(value)] = nodes.as_slice()
        {
            return match function(std::slice::from_ref(value)) {
                Ok(value) => Ok(Node::Const(value)),
                Err(Fault::Error(why)) => Err(why.to_string()),
                Err(_) => Err("operation cancelled".to_owned()),
            };
        }
        let pattern = pattern_of(name, &nodes);
        let pattern = pattern.map(|pattern| library::regex::compiled(&pattern)).transpose();
        let pattern = pattern.map_err(|fault| fault.to_string())?;
        let charge = Charge::of(name, form);
        Ok(Node::Call(Box::new(Call {
            function,
            name: name.clone(),
            charge,
            pattern,
            args: nodes,
        })))
    }

    fn fold(&mut self, fold: &Fold) -> Planned {
        let range = self.node(&fold.range)?;
        let start = self.node(&fold.start)?;
        let accu = self.scope.len();
        self.scope.push(Some(fold.accu.clone()));
        let item = self.scope.len();
        self.scope.push(Some(fold.item.clone()));
        let item2 = fold.item2.clone().map(|name| {
            self.scope.push(Some(name));
            item + 1
        });
        self.deepest = self.deepest.max(self.scope.len());
        let goes_on = self.node(&fold.goes_on)?;
        let step = self.node(&fold.step)?;
        // The result sees what was collected and no item.
        self.scope.iter_mut().skip(item).for_each(|name| *name = None);
        let result = self.node(&fold.result)?;
        self.scope.truncate(accu);
        let step = collecting(step, accu);
        Ok(Node::Loop(Box::new(Loop { range, accu, item, item2, start, goes_on, step, result })))
    }
}

/// The pattern of a call that takes one, where it is known.
fn pattern_of(name: &str, args: &[Node]) -> Option<String> {
    match (name, args.get(1)?) {
        ("matches" | "find" | "findAll", Node::Const(Value::String(text))) => {
            Some(text.as_str().to_owned())
        }
        _ => None,
    }
}

/// A step that adds to what is collected, done where it is kept.
fn collecting(step: Node, accu: usize) -> Node {
    let is_accu = |node: &Node| {
        matches!(node, Node::Path(path)
            if path.steps.is_empty() && matches!(path.base, Base::Local(slot) if slot == accu))
    };
    match step {
        Node::Call(mut call)
            if &*call.name == op::ADD
                && call.args.len() == 2
                && is_accu(&call.args[0])
                && matches!(&call.args[1], Node::List { elements, optional }
                    if elements.len() == 1 && optional.is_empty()) =>
        {
            Node::Append { slot: accu, item: Box::new(call.args.swap_remove(1)) }
        }
        Node::Call(mut call) if &*call.name == "cel.@mapInsert" && is_accu(&call.args[0]) => {
            Node::Insert { slot: accu, entry: call.args.split_off(1) }
        }
        Node::Path(mut path) => {
            if let Base::Either { yes, .. } = &mut path.base
                && yes.steps.is_empty()
                && let Base::Of(inner) = &mut yes.base
            {
                let step = std::mem::replace(inner, Node::Const(Value::Null));
                *inner = collecting(step, accu);
            }
            Node::Path(path)
        }
        other => other,
    }
}

fn path(base: Base) -> Node {
    Node::Path(Box::new(Path { base, steps: Vec::new() }))
}

fn as_path(node: Node) -> Path {
    match node {
        Node::Path(path) => *path,
        node => Path { base: Base::Of(node), steps: Vec::new() },
    }
}

/// A node with one more step of a path.
fn extended(operand: Node, step: Step) -> Node {
    let mut path = as_path(operand);
    extend(&mut path, step);
    Node::Path(Box::new(path))
}

fn extend(path: &mut Path, step: Step) {
    match &mut path.base {
        Base::Either { yes, no, .. } if path.steps.is_empty() && !matches!(step, Step::By(..)) => {
            let same = match &step {
                Step::Field(name, optional) => Step::Field(name.clone(), *optional),
                Step::At(value, optional) => Step::At(value.clone(), *optional),
                Step::Test(name) => Step::Test(name.clone()),
                Step::By(..) => return path.steps.push(step),
            };
            extend(yes, same);
            extend(no, step);
        }
        _ => path.steps.push(step),
    }
}

fn constant(node: &Node) -> Option<Value<'static>> {
    match node {
        Node::Const(value) => Some(value.clone()),
        _ => None,
    }
}

fn of_literal(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
