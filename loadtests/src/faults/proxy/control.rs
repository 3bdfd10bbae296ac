//! The proxy's control: a line of text for each command over TCP, a line for each answer.
//!
//! ```text
//! cut nats-1          reset its connections, and new ones
//! silent nats         nothing comes through any route nats-…
//! delay redis 200     every piece comes 200 ms later
//! open nats           as before
//! list                NAME LISTEN TO MODE for each route, then `ok`
//! ```
//!
//! The answer is `ok N`, with how many routes were meant, or `error: why`.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Mode, Proxy};

/// Serves until dropped.
pub async fn serve(listener: TcpListener, proxy: Proxy) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, proxy.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(stream: TcpStream, proxy: Proxy) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&line, &proxy) + "\n";
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn answer(line: &str, proxy: &Proxy) -> String {
    if line.trim() == "list" {
        let routes = proxy.routes();
        let lines = routes.map(|(name, listen, to, mode)| format!("{name} {listen} {to} {mode}\n"));
        return lines.collect::<String>() + "ok";
    }
    let set = read(line).and_then(|(name, mode)| {
        let count = proxy.set(name, mode);
        count.map_err(|error| error.to_string())
    });
    match set {
        Ok(count) => format!("ok {count}"),
        Err(error) => format!("error: {error}"),
    }
}

fn read(line: &str) -> Result<(&str, Mode), String> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["open", name] => Ok((name, Mode::Open)),
        ["cut", name] => Ok((name, Mode::Cut)),
        ["silent", name] => Ok((name, Mode::Silent)),
        ["delay", name, millis] => {
            let millis = millis
                .parse()
                .map_err(|_| "a delay is a number of milliseconds")?;
            Ok((name, Mode::Delay(Duration::from_millis(millis))))
        }
        _ => Err("one of: open NAME, cut NAME, silent NAME, delay NAME MS, list".to_owned()),
    }
}

/// Gives one command to the control of a proxy.
///
/// # Errors
/// No proxy there, or its refusal.
pub async fn command(address: &str, command: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    match answer.starts_with("ok") {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "the proxy answered `{command}` with `{}`",
            answer.trim()
        ))),
    }
}

/// The names of the routes of the proxy whose control is there.
///
/// # Errors
/// No proxy there.
pub async fn links(address: &str) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"list\n").await?;
    let mut lines = BufReader::new(stream).lines();
    let mut out = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if line == "ok" {
            break;
        }
        out.extend(line.split(' ').next().map(str::to_owned));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn commands_reach_the_routes() {
        let routes = ["a-1", "a-2", "b-1"]
            .map(|name| format!("{name}=127.0.0.1:0=127.0.0.1:1").parse().unwrap());
        let proxy = Proxy::start(&routes).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, proxy.clone()));
        command(&address, "cut a").await.unwrap();
        command(&address, "delay b-1 20").await.unwrap();
        let modes: Vec<_> = proxy.routes().map(|(_, _, _, mode)| mode).collect();
        let late = Mode::Delay(Duration::from_millis(20));
        assert_eq!(modes, [Mode::Cut, Mode::Cut, late]);
        for wrong in ["cut c", "cut", "delay a soon", "", "stop a"] {
            assert!(command(&address, wrong).await.is_err(), "{wrong}");
        }
        assert_eq!(links(&address).await.unwrap(), ["a-1", "a-2", "b-1"]);
        assert!(answer("list", &proxy).ends_with("delay 20\nok"));
    }
}
