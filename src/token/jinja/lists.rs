//! Jinja's filters for lists. Source: `jinja2.filters`.

use std::cmp::Ordering;

use super::args::{Args, count, int};
use super::ast::Binary;
use super::checks;
use super::fault::{Fault, Outcome};
use super::filters;
use super::interpreter::Run;
use super::operators::binary;
use super::print::str_of;
use super::value::{Dict, ITEM, Value, equal, order};

/// Applies a filter by its name.
pub(super) fn apply(run: &mut Run, name: &str, value: &Value, args: Args) -> Outcome<Value> {
    match name {
        "batch" => batch(run, value, args),
        "dictsort" => dict_sort(value, args),
        "first" => {
            args.none(name)?;
            first(run, value)
        }
        "groupby" => group_by(run, value, args),
        "join" => join(run, value, args),
        "last" => {
            args.none(name)?;
            last(run, value)
        }
        "list" => {
            args.none(name)?;
            Ok(Value::list(run.items(value)?))
        }
        "map" => map(run, value, args),
        "max" | "min" => extreme(run, name, value, args),
        "reject" | "select" => select(run, value, args, name == "select"),
        "rejectattr" | "selectattr" => select_attr(run, value, args, name == "selectattr"),
        "slice" => slice(run, value, args),
        "sort" => sort(run, value, args),
        "sum" => sum(run, value, args),
        "unique" => unique(run, value, args),
        _ => Err(Fault::other(format!("unknown filter: No filter named '{name}'."))),
    }
}

/// The attribute of an item that a filter is given: names or numbers with dots between, or nothing for the item itself.
struct Attribute {
    parts: Vec<Value>,
    default: Option<Value>,
}

impl Attribute {
    fn new(attribute: Option<Value>, default: Option<Value>) -> Attribute {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(text)) => text
                .split('.')
                .map(|part| part.parse().map_or_else(|_| Value::from(part), Value::Int))
                .collect(),
            Some(other) => vec![other],
        };
        Attribute { parts, default }
    }

    fn of(&self, run: &mut Run, item: &Value) -> Outcome<Value> {
        let mut value = item.clone();
        for part in &self.parts {
            value = run.item(&value, part)?;
            if let (true, Some(default)) = (value.is_undefined(), &self.default) {
                value = default.clone();
            }
        }
        Ok(value)
    }
}

/// Texts in lower case; anything else as it stands.
fn without_case(value: Value, keeps_case: bool) -> Value {
    match &value {
        Value::Str(text) if !keeps_case => Value::from(text.to_lowercase()),
        _ => value,
    }
}

fn batch(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [n, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let n = count(&n.unwrap_or(Value::None))?;
    let items = run.items(value)?;
    if n == 0 {
        let all =
            if items.is_empty() { Vec::new() } else { vec![Value::list(Vec::new()), Value::list(items)] };
        return Ok(Value::generator(all));
    }
    let mut lines: Vec<Vec<Value>> = items.chunks(n).map(<[Value]>::to_vec).collect();
    if let (Some(fill), Some(last)) = (fill.filter(|it| !matches!(it, Value::None)), lines.last_mut()) {
        run.meter.make(n.saturating_mul(ITEM))?;
        last.resize(n, fill);
    }
    Ok(Value::generator(lines.into_iter().map(Value::list).collect()))
}

fn slice(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [n, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let n = count(&n.unwrap_or(Value::None))?;
    let items = run.items(value)?;
    if n == 0 {
        return Err(Fault::other("ZeroDivisionError: integer division or modulo by zero"));
    }
    run.meter.make(n.saturating_mul(2 * ITEM))?;
    let (each, more) = (items.len() / n, items.len() % n);
    let fill = fill.filter(|it| !matches!(it, Value::None));
    let mut lines = Vec::with_capacity(n);
    let mut at = 0;
    for number in 0..n {
        let end = at + each + usize::from(number < more);
        let mut line = items[at..end].to_vec();
        if number >= more {
            line.extend(fill.clone());
        }
        lines.push(Value::list(line));
        at = end;
    }
    Ok(Value::generator(lines))
}

/// Sorts by keys; a `TypeError` where two cannot be compared.
fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Outcome<Vec<(Value, Value)>> {
    let mut fault = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = order(a, b, "<").unwrap_or_else(|it| {
            fault.get_or_insert(it);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    fault.map_or(Ok(keyed), Err)
}

fn values(keyed: Vec<(Value, Value)>) -> Vec<Value> {
    keyed.into_iter().map(|(_, value)| value).collect()
}

fn dict_sort(value: &Value, args: Args) -> Outcome<Value> {
    let [keeps_case, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let [keeps_case, reverse] = [keeps_case, reverse].map(|it| it.is_some_and(|it| it.is_true()));
    let by = by.unwrap_or_else(|| Value::from("key"));
    let at = match by.as_str() {
        Some("key") => 0,
        Some("value") => 1,
        _ => {
            let text = "FilterArgumentError: You can only sort by either \"key\" or \"value\"";
            return Err(Fault::other(text));
        }
    };
    let Value::Dict(dict) = value else {
        return Err(match value {
            Value::Undefined(what) => Fault::undefined(what),
            other => Fault::other(format!(
                "AttributeError: '{}' object has no attribute 'items'",
                other.type_name()
            )),
        });
    };
    let keyed = dict.pairs().iter().map(|(key, value)| {
        let by = if at == 0 { key } else { value };
        (without_case(by.clone(), keeps_case), Value::tuple(vec![key.clone(), value.clone()]))
    });
    Ok(Value::list(values(sorted(keyed.collect(), reverse)?)))
}

fn sort(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [reverse, keeps_case, attribute] =
        args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let [reverse, keeps_case] = [reverse, keeps_case].map(|it| it.is_some_and(|it| it.is_true()));
    let several = matches!(&attribute, Some(Value::Str(text)) if text.contains(','));
    let attributes: Vec<Attribute> = match &attribute {
        Some(Value::Str(text)) if several => {
            text.split(',').map(|part| Attribute::new(Some(Value::from(part)), None)).collect()
        }
        _ => vec![Attribute::new(attribute, None)],
    };
    let mut keyed = Vec::new();
    for item in run.items(value)? {
        let keys = attributes.iter().map(|it| Ok(without_case(it.of(run, &item)?, keeps_case)));
        keyed.push((Value::list(keys.collect::<Outcome<_>>()?), item));
    }
    Ok(Value::list(values(sorted(keyed, reverse)?)))
}

fn extreme(run: &mut Run, name: &str, value: &Value, args: Args) -> Outcome<Value> {
    let [keeps_case, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let keeps_case = keeps_case.is_some_and(|it| it.is_true());
    let attribute = Attribute::new(attribute, None);
    let mut best: Option<(Value, Value)> = None;
    for item in run.items(value)? {
        let key = without_case(attribute.of(run, &item)?, keeps_case);
        let (sign, wanted) = if name == "max" { (">", Ordering::Greater) } else { ("<", Ordering::Less) };
        let better = match &best {
            Some((best, _)) => order(&key, best, sign)? == Some(wanted),
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

fn unique(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [keeps_case, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let keeps_case = keeps_case.is_some_and(|it| it.is_true());
    let attribute = Attribute::new(attribute, None);
    let (mut seen, mut items) = (Dict::default(), Vec::new());
    for item in run.items(value)? {
        let key = without_case(attribute.of(run, &item)?, keeps_case);
        if seen.get(&key)?.is_none() {
            seen.insert(key, Value::None)?;
            items.push(item);
        }
    }
    Ok(Value::generator(items))
}

fn group_by(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [attribute, default, keeps_case] =
        args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let keeps_case = keeps_case.is_some_and(|it| it.is_true());
    let attribute = Attribute::new(attribute, default);
    let mut keyed = Vec::new();
    for item in run.items(value)? {
        keyed.push((without_case(attribute.of(run, &item)?, keeps_case), item));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((last, items)) if equal(last, &key) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut out = Vec::new();
    for (key, items) in groups {
        // Without regard to case, a group is called as its first item is.
        let name = if keeps_case { key } else { attribute.of(run, &items[0])? };
        out.push(Value::tuple(vec![name, Value::list(items)]));
    }
    Ok(Value::list(out))
}

fn join(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [between, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let between = between.map_or(Ok(String::new()), |it| str_of(&run.meter, &it))?;
    let attribute = Attribute::new(attribute, None);
    let items = run.items(value)?;
    run.meter.make(between.len().saturating_mul(items.len()))?;
    let mut out = String::new();
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push_str(&between);
        }
        let item = attribute.of(run, item)?;
        let text = str_of(&run.meter, &item)?;
        out.push_str(&text);
        run.meter.fits(out.len())?;
    }
    run.meter.make(out.len())?;
    Ok(Value::from(out))
}

fn first(run: &mut Run, value: &Value) -> Outcome<Value> {
    let item = match value {
        Value::Generator(items) => items.borrow_mut().pop_front(),
        Value::List(items) | Value::Tuple(items) => items.first().cloned(),
        other => run.items(other)?.into_iter().next(),
    };
    Ok(item.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
}

fn last(run: &mut Run, value: &Value) -> Outcome<Value> {
    let item = match value {
        Value::Generator(_) => return Err(Fault::of_type("'generator' object is not reversible")),
        Value::Undefined(_) => None,
        Value::List(items) | Value::Tuple(items) => items.last().cloned(),
        other => run.items(other)?.pop(),
    };
    Ok(item.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
}

fn map(run: &mut Run, value: &Value, mut args: Args) -> Outcome<Value> {
    let items = if value.is_true() { run.items(value)? } else { Vec::new() };
    let mut out = Vec::with_capacity(items.len());
    if args.plain.is_empty() && args.named.iter().any(|(name, _)| &**name == "attribute") {
        let attribute = Attribute::new(args.take("attribute"), args.take("default"));
        args.none("map")?;
        for item in items {
            out.push(attribute.of(run, &item)?);
        }
        return Ok(Value::generator(out));
    }
    let filter = match args.plain.is_empty() {
        true => return Err(Fault::other("FilterArgumentError: map requires a filter argument")),
        false => str_of(&run.meter, &args.plain.remove(0))?,
    };
    for item in items {
        run.meter.step()?;
        out.push(filters::apply(run, &filter, item, args.clone())?);
    }
    Ok(Value::generator(out))
}

/// The rest of the arguments as a test; without one, whether the value counts as true.
fn passes(run: &mut Run, value: &Value, args: &Args) -> Outcome<bool> {
    let mut args = args.clone();
    run.meter.step()?;
    if args.plain.is_empty() {
        return Ok(value.is_true());
    }
    let test = str_of(&run.meter, &args.plain.remove(0))?;
    checks::test(run, &test, value, args)
}

fn select(run: &mut Run, value: &Value, args: Args, keeps: bool) -> Outcome<Value> {
    let items = if value.is_true() { run.items(value)? } else { Vec::new() };
    let mut out = Vec::new();
    for item in items {
        if passes(run, &item, &args)? == keeps {
            out.push(item);
        }
    }
    Ok(Value::generator(out))
}

fn select_attr(run: &mut Run, value: &Value, mut args: Args, keeps: bool) -> Outcome<Value> {
    if !value.is_true() {
        return Ok(Value::generator(Vec::new()));
    }
    if args.plain.is_empty() {
        return Err(Fault::other("FilterArgumentError: Missing parameter for attribute name"));
    }
    let items = run.items(value)?;
    let attribute = Attribute::new(Some(args.plain.remove(0)), None);
    let mut out = Vec::new();
    for item in items {
        let of_item = attribute.of(run, &item)?;
        if passes(run, &of_item, &args)? == keeps {
            out.push(item);
        }
    }
    Ok(Value::generator(out))
}

fn sum(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let attribute = Attribute::new(attribute, None);
    let mut total = start.unwrap_or(Value::Int(0));
    if matches!(total, Value::Str(_)) {
        return Err(Fault::of_type("sum() can't sum strings [use ''.join(seq) instead]"));
    }
    for item in run.items(value)? {
        let item = attribute.of(run, &item)?;
        total = binary(&run.meter, Binary::Add, &total, &item)?;
    }
    Ok(total)
}

/// `list.method(args)` of a list or a tuple.
pub(super) fn call(items: &[Value], method: &str, args: Args) -> Outcome<Value> {
    match method {
        "count" => {
            let [sought] = args.bind(method, [""], 1)?;
            let sought = sought.unwrap_or(Value::None);
            Ok(Value::from(items.iter().filter(|item| equal(item, &sought)).count()))
        }
        "index" => {
            let [sought, start] = args.bind(method, ["", ""], 1)?;
            let sought = sought.unwrap_or(Value::None);
            let start = start.map_or(Ok(0), |it| int(&it))?;
            let start = if start < 0 { start.saturating_add(items.len() as i128).max(0) } else { start };
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let at = (start..items.len()).find(|at| equal(&items[*at], &sought));
            at.map(Value::from).ok_or_else(|| Fault::value("the value is not in list"))
        }
        _ => {
            args.none(method)?;
            Ok(Value::list(items.to_vec()))
        }
    }
}
