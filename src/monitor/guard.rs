//! Who may ask: not another web site through the browser of whoever trains.
//!
//! A page of another site can have a browser send requests here. It cannot read the answers unless its own name is made
//! to lead to this machine (DNS rebinding), which the `Host` header gives away; and what it posts carries its `Origin`.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Uri};

/// Why a request is refused, or that it is not.
///
/// The port that `Host` names is not compared: through a tunnel it is another one, and no site can choose it.
pub(super) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    place: &Place,
) -> Result<(), String> {
    if uri.authority().is_some() {
        return Err("the request is one for a proxy".into());
    }
    let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::to_str);
    let (Some(Ok(host)), None) = (hosts.next(), hosts.next()) else {
        return Err("the request names no host, or several".into());
    };
    if !place.is_called(host) {
        return Err(format!(
            "{host:?} is not a name of this server; ask for it by its address"
        ));
    }
    if method == Method::POST
        && let Some(origin) = headers.get(ORIGIN)
        && !origin
            .as_bytes()
            .eq_ignore_ascii_case(format!("http://{host}").as_bytes())
    {
        return Err("another site has sent this".into());
    }
    Ok(())
}

/// Where a server listens, and under which names.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The address it is bound to.
    pub(super) ip: IpAddr,
    /// The host as the user gave it.
    pub(super) name: String,
    /// What the machine calls itself; empty where it does not say.
    pub(super) machine: String,
}

/// What the machine calls itself.
pub(super) fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

impl Place {
    /// Whether `Host` names this server. No name that another could own is taken, but those that the user and the machine gave.
    fn is_called(&self, host: &str) -> bool {
        let name = without_port(host);
        let bare = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(name);
        match bare.parse::<IpAddr>() {
            Ok(ip) if self.ip.is_loopback() => ip.is_loopback(),
            // An address cannot be made to lead elsewhere.
            Ok(_) => true,
            Err(_) if name.eq_ignore_ascii_case("localhost") => {
                self.ip.is_loopback() || self.ip.is_unspecified()
            }
            Err(_) => {
                // A proxy, or another container, asks for the machine by its name, which no site can take.
                let own = !self.ip.is_loopback() && !self.machine.is_empty();
                name.eq_ignore_ascii_case(&self.name)
                    || (own && name.eq_ignore_ascii_case(&self.machine))
            }
        }
    }
}

/// A host without the port behind it.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &str, ip: &str, headers: &[(&'static str, &str)]) -> Result<(), String> {
        let place = Place {
            ip: ip.parse().unwrap(),
            name: "trainer.lan".into(),
            machine: "node-7".into(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let method = method.parse().unwrap();
        check(&method, &Uri::from_static("/stop"), &map, &place)
    }

    #[test]
    fn only_the_servers_own_names_are_answered() {
        for (ip, host, answered) in [
            ("127.0.0.1", "127.0.0.1:7878", true),
            ("127.0.0.1", "localhost:7878", true),
            ("127.0.0.1", "LOCALHOST", true),
            // Through a tunnel.
            ("127.0.0.1", "localhost:9000", true),
            ("127.0.0.1", "[::1]:7878", true),
            ("127.0.0.1", "evil.example:7878", false),
            ("127.0.0.1", "127.0.0.1.evil.example", false),
            ("127.0.0.1", "localhost.evil.example:7878", false),
            ("127.0.0.1", "192.168.1.5:7878", false),
            ("127.0.0.1", "", false),
            ("0.0.0.0", "192.168.1.5:7878", true),
            ("0.0.0.0", "localhost:7878", true),
            ("0.0.0.0", "trainer.lan:7878", true),
            ("0.0.0.0", "evil.example:7878", false),
            ("0.0.0.0", "node-7:7878", true),
            ("192.168.1.5", "NODE-7", true),
            ("0.0.0.0", "node-7.evil.example:7878", false),
            ("127.0.0.1", "node-7:7878", false),
            ("192.168.1.5", "localhost:7878", false),
        ] {
            for method in ["GET", "POST"] {
                let found = verdict(method, ip, &[("host", host)]);
                assert_eq!(
                    found.is_ok(),
                    answered,
                    "{method} {host} on {ip}: {found:?}"
                );
            }
        }
        assert!(verdict("GET", "127.0.0.1", &[]).is_err());
        let two = [("host", "localhost"), ("host", "localhost")];
        assert!(verdict("GET", "127.0.0.1", &two).is_err());
    }

    #[test]
    fn what_another_site_posts_is_refused() {
        for (origin, taken) in [
            ("http://127.0.0.1:7878", true),
            ("http://evil.example", false),
            ("https://127.0.0.1:7878", false),
            ("http://127.0.0.1:8000", false),
            ("null", false),
            ("", false),
        ] {
            let headers = [("host", "127.0.0.1:7878"), ("origin", origin)];
            let found = verdict("POST", "127.0.0.1", &headers);
            assert_eq!(found.is_ok(), taken, "{origin:?}: {found:?}");
        }
    }
}
