//! With the template engine and docker's functions.
//!
//! The template engine sorts keys, as Go does for maps; docker prints structures in their own order. So each object
//! that goes into the engine is remembered with its text, and `json` gives that text back.
//!
//! To the engine every object is a map, where docker has structures and maps: a structure has no field of another name,
//! but names such as `ID` and `NanoCPUs` are spelt in more than one way; a map of labels lacks a key without harm. So
//! fields are looked up by functions of ours, which each template is rewritten to call.

use super::super::failure::Failure;
use super::super::ordered::Node;
use super::super::table;
use super::JsonStyle;
use crate::utils::json;
use gotmpl::parse::{CommandNode, Expr, ListNode, Node as Part, Parser, PipeNode};
use gotmpl::{Template, TemplateError, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Fields that are maps from a text to a text, whose keys are the user's.
const TEXTS: &[&str] = &[
    "Annotations",
    "Attributes",
    "Data",
    "DriverOpts",
    "Label",
    "Labels",
    "Options",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Unified",
    "annotations",
    "labels",
];
/// The same of maps to something else.
const MAPS: &[&str] = &["ExposedPorts", "Networks", "PortBindings", "Ports", "Runtimes", "Volumes"];

/// The functions that fields become; no template can name them.
const FIELD: &str = ".field";
const LABEL: &str = ".label";

/// What is known of an object or list beside its content.
struct Origin {
    json: String,
    keys: Keys,
}

/// What the keys of an object are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Fields of a structure.
    Fields,
    /// Of a map of texts.
    Texts,
    /// Of another map.
    Others,
}

/// Objects and lists by the address of the engine's value.
type Known = Arc<Mutex<HashMap<usize, Origin>>>;

/// A parsed `--format`.
pub struct Format {
    template: Template,
    table: bool,
    known: Known,
}

impl Format {
    /// Parses `TEMPLATE`, `table TEMPLATE`, `json`. `\t` and `\n` stand for what they mean.
    ///
    /// # Errors
    /// Exit code 125 with what is wrong.
    pub fn parse(text: &str, style: JsonStyle) -> Result<Format, Failure> {
        let (table, body) = match text.strip_prefix("table ") {
            Some(body) => (true, body.trim_start()),
            None => (false, text),
        };
        let body =
            if body == "json" { "{{json .}}".to_owned() } else { body.replace("\\t", "\t").replace("\\n", "\n") };
        let known = Known::default();
        let [for_json, for_field, for_index] = [(); 3].map(|()| known.clone());
        let template = Template::new("")
            .func("json", move |args| Ok(text_value(json_text(argument(args, 0)?, &for_json, style))))
            .func(FIELD, move |args| match args {
                [value, Value::String(path)] => {
                    path.split('.').try_fold(value.clone(), |v, key| field(&v, key, &for_field))
                }
                _ => Err(TemplateError::Exec("can't give argument to non-function".into())),
            })
            .func("index", move |args| {
                let keys = args.get(1..).filter(|keys| !keys.is_empty());
                let keys = keys.ok_or_else(|| TemplateError::Exec("wrong number of args for index".into()))?;
                keys.iter().try_fold(args[0].clone(), |value, key| index(&value, key, &for_index))
            })
            .func(LABEL, |args| label(argument(args, 0)?, &string(args, 1)?))
            .func("join", |args| Ok(text_value(join(argument(args, 0)?, &string(args, 1)?))))
            .func("split", |args| {
                let (text, by) = (string(args, 0)?, string(args, 1)?);
                Ok(Value::List(text.split(by.as_str()).map(|s| text_value(s.to_owned())).collect()))
            })
            .func("lower", |args| Ok(text_value(string(args, 0)?.to_lowercase())))
            .func("upper", |args| Ok(text_value(string(args, 0)?.to_uppercase())))
            .func("title", |args| Ok(text_value(title(&string(args, 0)?))))
            .func("truncate", |args| {
                let length = argument(args, 1)?.as_int().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
                Ok(text_value(string(args, 0)?.chars().take(length).collect()))
            })
            .func("pad", |args| {
                let spaces = |i| argument(args, i).map(|v| v.as_int().unwrap_or(0).clamp(0, 1000) as usize);
                let text = string(args, 0)?;
                let filled = if text.is_empty() {
                    text
                } else {
                    [" ".repeat(spaces(1)?), text, " ".repeat(spaces(2)?)].concat()
                };
                Ok(text_value(filled))
            })
            .parse(&body);
        let wrong = |e| Failure::usage(format!("Template parsing error: {e}"));
        let mut template = template.map_err(wrong)?;
        let (mut main, parts) = Parser::new(&body, "{{", "}}").and_then(Parser::parse).map_err(wrong)?;
        for mut part in parts {
            rewrite(&mut part.body);
            template = template.add_parse_tree(&part.name, part.body);
        }
        rewrite(&mut main);
        Ok(Format { template: template.add_parse_tree("", main), table, known })
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// Exit code 1: a field that does not exist, a function on the wrong type.
    pub fn render(&self, node: &Node) -> Result<String, Failure> {
        self.fill(node).map_err(|e| Failure::local(format!("Template parsing error: {e}")))
    }

    fn fill(&self, node: &Node) -> Result<String, TemplateError> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.template.execute_template_to_string("", &self.value("", node))
    }

    /// Fills the template in for each row, with a head and aligned columns for `table …`. `titles` are the fields and
    /// their heads.
    ///
    /// # Errors
    /// Exit code 1 for a field that does not exist, in the words of the original.
    pub fn render_rows(&self, titles: &[(&str, &str)], rows: &[Node]) -> Result<String, Failure> {
        let unknown = |f: Failure| Failure::local(format!("invalid format field: {}", f.text));
        let mut lines = Vec::new();
        let head = || Node::texts(titles.iter().map(|(field, title)| (*field, (*title).to_owned())));
        if self.table {
            lines.push(self.render(&head()).map_err(unknown)?);
        } else if rows.is_empty()
            && let Err(e @ TemplateError::MissingKey { .. }) = self.fill(&head())
        {
            // What is wrong with any row is so without one.
            return Err(unknown(Failure::local(format!("Template parsing error: {e}"))));
        }
        for row in rows {
            lines.push(self.render(row).map_err(unknown)?);
        }
        let mut out = if self.table { table::tabulate(&lines) } else { lines.join("\n") };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        Ok(out)
    }

    /// `name` is that of the field which has it.
    fn value(&self, name: &str, node: &Node) -> Value {
        let (value, address, keys) = match node {
            Node::Null => return Value::Nil,
            Node::Bool(v) => return Value::Bool(*v),
            Node::Int(v) => return Value::Int(*v),
            Node::Uint(v) => return Value::Uint(*v),
            Node::Float(v) => return Value::Float(*v),
            Node::Text(v) => return text_value(v.clone()),
            Node::List(items) => {
                let list: Arc<[Value]> = items.iter().map(|i| self.value("", i)).collect();
                let address = list.as_ptr() as usize;
                (Value::List(list), address, Keys::Fields)
            }
            Node::Object(fields) => {
                let value = |(key, field): &(String, Node)| {
                    // The driver's own options are below a name that structures have as well.
                    let as_name = if name == "LogConfig" && key == "Config" { "Options" } else { key };
                    (Arc::from(key.as_str()), self.value(as_name, field))
                };
                let map: Arc<BTreeMap<Arc<str>, Value>> = Arc::new(fields.iter().map(value).collect());
                let address = Arc::as_ptr(&map) as usize;
                let keys = match name {
                    name if TEXTS.contains(&name) => Keys::Texts,
                    name if MAPS.contains(&name) => Keys::Others,
                    _ => Keys::Fields,
                };
                (Value::Map(map), address, keys)
            }
        };
        // The labels of a row are there for their function, not to be seen.
        let json = match node {
            Node::Object(fields) if fields.last().is_some_and(|(key, _)| key == "Label") => {
                json::to_text(&Node::Object(fields[..fields.len() - 1].to_vec()))
            }
            _ => json::to_text(node),
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(address, Origin { json, keys });
        value
    }
}

/// Has each field of a template looked up by our functions.
fn rewrite(list: &mut ListNode) {
    for part in &mut list.nodes {
        match part {
            Part::List(list) => rewrite(list),
            Part::Action(action) => rewrite_pipe(&mut action.pipe),
            Part::If(branch) | Part::Range(branch) | Part::With(branch) => {
                rewrite_pipe(&mut branch.pipe);
                rewrite(&mut branch.body);
                branch.else_body.iter_mut().for_each(rewrite);
            }
            Part::Template(template) => template.pipe.iter_mut().for_each(rewrite_pipe),
            Part::Define(define) => rewrite(&mut define.body),
            Part::Text(_) | Part::Break(_) | Part::Continue(_) => {}
        }
    }
}

fn rewrite_pipe(pipe: &mut PipeNode) {
    for CommandNode { pos, args } in &mut pipe.commands {
        // `.Label "key"` is the one method.
        if let [Expr::Field(_, path) | Expr::Variable(_, _, path) | Expr::Chain(_, _, path), _] = &mut args[..]
            && path.last().is_some_and(|last| last == "Label")
        {
            path.pop();
            if matches!(&args[0], Expr::Field(_, path) if path.is_empty()) {
                args[0] = Expr::Dot(*pos);
            }
            args.insert(0, Expr::Identifier(*pos, LABEL.into()));
        }
        args.iter_mut().for_each(rewrite_expression);
    }
}

fn rewrite_expression(e: &mut Expr) {
    let (pos, of, path) = match e {
        Expr::Pipe(_, pipe) => return rewrite_pipe(pipe),
        Expr::Field(pos, path) => (*pos, Expr::Dot(*pos), path),
        Expr::Variable(pos, name, path) if !path.is_empty() => {
            (*pos, Expr::Variable(*pos, name.clone(), Vec::new()), path)
        }
        Expr::Chain(pos, inner, path) => {
            rewrite_expression(inner);
            (*pos, (**inner).clone(), path)
        }
        _ => return,
    };
    let path = Expr::String(pos, path.join(".").into());
    let args = vec![Expr::Identifier(pos, FIELD.into()), of, path];
    let commands = vec![CommandNode { pos, args }];
    *e = Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
}

/// What the keys of this map are.
fn keys(map: &Arc<BTreeMap<Arc<str>, Value>>, known: &Known) -> Keys {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.get(&(Arc::as_ptr(map) as usize)).map_or(Keys::Others, |origin| origin.keys)
}

/// `.key`: of a structure also in another case, as `ID` for `Id`; nothing for what a map does not have.
fn field(value: &Value, key: &str, known: &Known) -> Result<Value, TemplateError> {
    let map = match value {
        Value::Map(map) => map,
        Value::Nil => return Ok(Value::Nil),
        other => {
            let text = format!("can't evaluate field {key} in type {}", other.type_name());
            return Err(TemplateError::Exec(text));
        }
    };
    if let Some(value) = map.get(key) {
        return Ok(value.clone());
    }
    if keys(map, known) != Keys::Fields {
        return Ok(Value::Nil);
    }
    let mut same = map.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
    match (same.next(), same.next()) {
        // Go's fields begin with a capital letter.
        (Some((_, value)), None) if key.starts_with(|c: char| c.is_ascii_uppercase()) => Ok(value.clone()),
        _ => Err(TemplateError::MissingKey { key: key.to_owned() }),
    }
}

/// `index value key`: of texts an empty one where there is none.
fn index(value: &Value, key: &Value, known: &Known) -> Result<Value, TemplateError> {
    let found = value.index(key)?;
    match (value, found) {
        (Value::Map(map), Value::Nil) if keys(map, known) == Keys::Texts => Ok(text_value(String::new())),
        (_, found) => Ok(found),
    }
}

/// `.Label key` of a row; of the head, docker's title for it.
fn label(row: &Value, key: &str) -> Result<Value, TemplateError> {
    let text = match (row.field("Label"), row.field("Labels")) {
        (Some(labels), _) => labels.field(key).map(Value::to_string).unwrap_or_default(),
        (None, Some(_)) => key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " "),
        (None, None) => return Err(TemplateError::MissingKey { key: "Label".into() }),
    };
    Ok(text_value(text))
}

fn text_value(text: String) -> Value {
    Value::String(text.into())
}

fn argument(args: &[Value], index: usize) -> Result<&Value, TemplateError> {
    args.get(index).ok_or_else(|| TemplateError::Exec("wrong number of args".into()))
}

fn string(args: &[Value], index: usize) -> Result<String, TemplateError> {
    Ok(argument(args, index)?.to_string())
}

fn join(list: &Value, by: &str) -> String {
    match list {
        Value::List(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(by),
        other => other.to_string(),
    }
}

fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn json_text(value: &Value, known: &Known, style: JsonStyle) -> String {
    let address = match value {
        Value::List(list) if !list.is_empty() => list.as_ptr() as usize,
        Value::Map(map) => Arc::as_ptr(map) as usize,
        _ => 0,
    };
    let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).get(&address).map(|o| o.json.clone());
    let compact = remembered.unwrap_or_else(|| json::to_text(&node(value)));
    style.lay_out(compact)
}

/// A value that the template itself made.
fn node(value: &Value) -> Node {
    match value {
        Value::Bool(v) => Node::Bool(*v),
        Value::Int(v) => Node::Int(*v),
        Value::Uint(v) => Node::Uint(*v),
        Value::Float(v) => Node::Float(*v),
        Value::String(v) => Node::Text(v.to_string()),
        Value::List(items) => Node::List(items.iter().map(node).collect()),
        Value::Map(map) => Node::Object(map.iter().map(|(k, v)| (k.to_string(), node(v))).collect()),
        _ => Node::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Node {
        json::parse(
            br#"{"Name":"a","State":{"Status":"running","Running":true,"Pid":7},"HostConfig":{"CPUShares":3,"Binds":[]},
                "Config":{"Env":["A=1","B=2"],"Labels":{"x.y":"z"},"Volumes":{}},"Mounts":null,"Id":"7",
                "LogConfig":{"Config":{"a":"b"}}}"#,
        )
        .unwrap()
    }

    #[test]
    fn templates_print_as_go_prints_them() {
        for (template, want) in [
            ("{{.State.Status}} {{.State.Running}}", "running true"),
            ("{{json .State}}", r#"{"Status":"running","Running":true,"Pid":7}"#),
            ("{{json .State.Status}}", "\"running\""),
            ("{{json .HostConfig}}", r#"{"CPUShares":3,"Binds":[]}"#),
            ("{{.HostConfig.CPUShares}}={{.HostConfig.CpuShares}}", "3=3"),
            ("{{json .HostConfig.Binds}}{{json .Mounts}}", "[]null"),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            ("{{index .Config.Labels \"x.y\"}}", "z"),
            ("{{join .Config.Env \",\"}}", "A=1,B=2"),
            ("{{len .Config.Env}}", "2"),
            ("{{.Config.Labels.nope}}|{{index .Config.Labels \"nope\"}}|{{.Config.Labels}}", "<no value>||map[x.y:z]"),
            ("{{.Config.Volumes.a.b}}{{with index .Config.Volumes \"a\"}}x{{end}}", "<no value>"),
            ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}{{.LogConfig.Config.b}}", "x.y=z<no value>"),
            ("{{.ID}}{{$.ID}}{{with .State}}{{.PID}}{{$.ID}}{{end}}{{(index .Config.Env 0)}}", "7777A=1"),
            ("{{define \"x\"}}{{.ID}}{{end}}{{template \"x\" .}}{{block \"y\" .State}}{{.PID}}{{end}}", "77"),
            ("{{if and .State.Running (eq .ID \"7\")}}{{(printf \"%s\" .ID) | len}}{{else}}{{.ID}}{{end}}", "1"),
            ("{{range $i, $e := .Config.Env}}{{$i}}{{$e}}{{end}}{{range .Mounts}}{{.X}}{{end}}", "0A=11B=2"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            (
                "{{.Name | upper | printf \"%5s\"}}|{{title .Name}}|{{truncate .State.Status 3}}|{{pad .Name 1 2}}|",
                "    A|A|run| a  |",
            ),
            ("{{index (split \"a:b\" \":\") 1}}", "b"),
            ("a\\tb", "a\tb"),
            ("{{.Config.Env}}", "[A=1 B=2]"),
            ("{{with $x := .State}}{{$x.Pid}}{{end}}", "7"),
        ] {
            let format = Format::parse(template, JsonStyle::Compact).unwrap();
            assert_eq!(format.render(&container()).unwrap(), want, "{template}");
        }
        let pretty = Format::parse("{{json .State}}", JsonStyle::Pretty).unwrap().render(&container()).unwrap();
        assert_eq!(pretty, "{\n    \"Status\": \"running\",\n    \"Running\": true,\n    \"Pid\": 7\n}");
    }

    #[test]
    fn mistakes_are_failures() {
        let syntax = Format::parse("{{.a", JsonStyle::Compact).err().unwrap();
        assert_eq!(syntax.code, 125);
        for template in [
            "{{.Nosuch}}",
            "{{.State.Nosuch.X}}",
            "{{json}}",
            "{{index .Config.Env 9}}",
            "{{.name}}",
            "{{.Name.X}}",
            "{{.Name 1}}",
            "{{1 | .Name}}",
            "{{.Label \"x\"}}",
            "{{index .Config}}",
            "{{.HostConfig.Nope}}",
        ] {
            let format = Format::parse(template, JsonStyle::Compact).unwrap();
            assert_eq!(format.render(&container()).unwrap_err().code, 1, "{template}");
        }
    }

    #[test]
    fn rows_and_tables() {
        let titles = [("ID", "CONTAINER ID"), ("Names", "NAMES")];
        let row = |id: &str, name: &str| Node::texts([("ID", id.to_owned()), ("Names", name.to_owned())]);
        let rows = [row("1", "one"), row("22", "two")];
        let print = |template: &str, rows: &[Node]| {
            Format::parse(template, JsonStyle::Compact).unwrap().render_rows(&titles, rows).unwrap()
        };
        assert_eq!(print("{{.ID}} {{.Names}}", &rows), "1 one\n22 two\n");
        assert_eq!(print("{{.ID}}", &[]), "");
        assert_eq!(print("json", &rows[..1]), "{\"ID\":\"1\",\"Names\":\"one\"}\n");
        assert_eq!(
            print("table {{.ID}}\\t{{.Names}}", &rows),
            "CONTAINER ID   NAMES\n1              one\n22             two\n"
        );
        assert_eq!(print("table {{.ID}}\\t{{.Names}}", &[]), "CONTAINER ID   NAMES\n");
        for rows in [&rows[..], &[]] {
            let failure = Format::parse("{{.X}}", JsonStyle::Compact).unwrap().render_rows(&titles, rows).unwrap_err();
            assert!(failure.text.starts_with("invalid format field"));
        }
        assert_eq!(print("{{index (split .ID \":\") 1}}", &[]), "", "what may well be in a row");
        let titles = [("ID", "CONTAINER ID"), ("Labels", "LABELS")];
        let mut row = Node::texts([("ID", "1".to_owned()), ("Labels", "a.b-c=d,e".to_owned())]);
        row.add("Label", Node::texts([("a.b-c", "d,e".to_owned())]));
        let print =
            |template: &str| Format::parse(template, JsonStyle::Compact).unwrap().render_rows(&titles, &[row.clone()]);
        assert_eq!(print("table {{.ID}}\\t{{.Label \"a.b-c\"}}").unwrap(), "CONTAINER ID   b c\n1              d,e\n");
        assert_eq!(
            print("{{.Label \"nope\"}}|{{$.Label \"a.b-c\" | upper}}|{{json .}}").unwrap(),
            "|D,E|{\"ID\":\"1\",\"Labels\":\"a.b-c=d,e\"}\n"
        );
    }
}
