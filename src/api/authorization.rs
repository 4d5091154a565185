//! What docker's authorization plugins are asked and answer (plugin API 1.0, `authz`).

use crate::utils::json::Object;
use serde::Serialize;
use std::collections::BTreeMap;

/// Body of `POST /AuthZPlugin.AuthZReq`, and with the part on the response of `POST /AuthZPlugin.AuthZRes`.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessRequest {
    /// Common name of the client's certificate; empty on a unix socket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `TLS` with a user.
    #[serde(rename = "UserAuthNMethod", skip_serializing_if = "String::is_empty")]
    pub authentication: String,
    /// Method.
    pub request_method: String,
    /// Path and query.
    pub request_uri: String,
    /// A JSON body, in base 64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_body: String,
    /// Header fields, without those that hold credentials.
    pub request_headers: BTreeMap<String, String>,
    /// A JSON body of the response, in base 64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub response_body: String,
    /// Header fields of the response.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, String>,
    /// 0 before there is a response.
    #[serde(skip_serializing_if = "is_zero")]
    pub response_status_code: u16,
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

/// Answer to both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct AccessAnswer {
    /// Whether it may be.
    pub allow: bool,
    /// Why not.
    pub msg: String,
    /// What went wrong in the plugin.
    pub err: String,
}

/// Answer to `POST /Plugin.Activate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Activation {
    /// Names of protocols.
    pub implements: Vec<String>,
}

/// A plugin's description, `NAME.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginFile {
    /// `unix://PATH` or `tcp://HOST:PORT`.
    pub addr: String,
    /// Certificates.
    #[serde(rename = "TLSConfig")]
    pub tls_config: Option<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;

    #[test]
    fn has_the_names_of_docker() {
        let request = AccessRequest {
            user: "alice".into(),
            authentication: "TLS".into(),
            request_method: "POST".into(),
            request_uri: "/v1.44/containers/create".into(),
            request_body: "e30=".into(),
            request_headers: [("Host".to_owned(), "a".to_owned())].into(),
            response_status_code: 201,
            ..AccessRequest::default()
        };
        let text = String::from_utf8(json::to_vec(&request)).unwrap();
        assert_eq!(
            text,
            r#"{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"POST","RequestUri":"/v1.44/containers/create","RequestBody":"e30=","RequestHeaders":{"Host":"a"},"ResponseStatusCode":201}"#
        );
        let answer: AccessAnswer = json::parse(br#"{"Allow":false,"Msg":"no","Err":null,"Other":1}"#).unwrap();
        assert_eq!(answer, AccessAnswer { allow: false, msg: "no".into(), err: String::new() });
        let file: PluginFile = json::parse(br#"{"Name":"x","Addr":"unix:///a","TLSConfig":{"CAFile":"b"}}"#).unwrap();
        assert!(file.addr == "unix:///a" && file.tls_config.is_some());
        assert_eq!(json::parse::<Activation>(br#"{"Implements":["authz"]}"#).unwrap().implements, ["authz"]);
    }
}
