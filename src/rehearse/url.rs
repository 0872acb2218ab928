//! Where requests go: `http://HOST:PORT/PATH`, the same with `https`, `ws` and `wss`, a unix socket
//! as nginx writes it (`http://unix:/run/app.sock:/PATH`), or a path on the app's first port
//! (`/PATH`, `https:/PATH`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    pub(crate) address: Address,
    /// Including the query.
    pub(crate) path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    /// The app's first port, which is known once the app listens.
    AppPort,
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Scheme {
    const ALL: [(&'static str, Scheme); 4] =
        [("http", Scheme::Http), ("https", Scheme::Https), ("ws", Scheme::Ws), ("wss", Scheme::Wss)];

    pub(crate) fn secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Wss)
    }

    pub(crate) fn websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    fn port(self) -> u16 {
        if self.secure() { 443 } else { 80 }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Scheme::ALL.iter().find(|(_, scheme)| scheme == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Url {
    /// The same URL on this port of the app.
    pub(crate) fn on(&self, host: &str, port: u16) -> Url {
        match self.address {
            Address::AppPort => Url { address: Address::Tcp { host: host.to_owned(), port }, ..self.clone() },
            Address::Tcp { .. } | Address::Unix(_) => self.clone(),
        }
    }

    /// The value of the Host header.
    pub(crate) fn host(&self) -> String {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::AppPort | Address::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let wrong = || {
            format!(
                "'{text}' is neither SCHEME://HOST:PORT/PATH (http, https, ws, wss) nor SCHEME://unix:SOCKET:/PATH nor /PATH"
            )
        };
        if text.starts_with('/') {
            return Ok(Url { scheme: Scheme::Http, address: Address::AppPort, path: text.to_owned() });
        }
        let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (_, scheme) = Scheme::ALL.into_iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
        let Some(rest) = rest.strip_prefix("//") else {
            let path = Some(rest).filter(|path| path.starts_with('/')).ok_or_else(wrong)?;
            return Ok(Url { scheme, address: Address::AppPort, path: path.to_owned() });
        };
        if let Some(rest) = rest.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
            let whole = socket.starts_with('/') && path.starts_with('/') && !scheme.secure();
            let address = whole.then(|| Address::Unix(socket.into())).ok_or_else(wrong)?;
            return Ok(Url { scheme, address, path: path.to_owned() });
        }
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (host, scheme.port()),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Url { scheme, address: Address::Tcp { host, port }, path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::AppPort => write!(f, "{}:{}", self.scheme, self.path),
            Address::Tcp { .. } => write!(f, "{}://{}{}", self.scheme, self.host(), self.path),
            Address::Unix(socket) => write!(f, "{}://unix:{}:{}", self.scheme, socket.display(), self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_was_typed() {
        for text in [
            "http://127.0.0.1:8080/a?b=c:d",
            "https://[::1]:8443/",
            "wss://localhost:443/chat",
            "http://unix:/run/app.sock:/slow",
        ] {
            assert_eq!(text.parse::<Url>().expect("a URL").to_string(), text);
        }
        let url: Url = "https:/slow".parse().expect("a path with a scheme");
        assert_eq!(url.on("127.0.0.1", 8443).to_string(), "https://127.0.0.1:8443/slow");
        assert_eq!(
            "http://localhost".parse::<Url>().expect("a host alone").to_string(),
            "http://localhost:80/"
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "app", "ftp://x/", "http://:80/", "http://h:port/", "https://unix:/a:/", "http:path"]
        {
            assert!(text.parse::<Url>().is_err(), "{text:?}");
        }
    }
}
