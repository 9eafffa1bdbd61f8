//! Finds the statements in a text that begin or end a transaction. Only words are parsed: quotes, comments,
//! parentheses and the bodies of functions, as `psql` does.

/// The first forbidden statement of a text, by its words.
pub(super) fn of_transaction(text: &str) -> Option<String> {
    let mut statement = Statement::default();
    let mut scanner = Scanner { rest: text };
    loop {
        match scanner.next() {
            Some(Token::Word(word)) => statement.word(word),
            Some(Token::Open) => statement.depth += 1,
            Some(Token::Close) => statement.depth = statement.depth.saturating_sub(1),
            Some(Token::End) if statement.depth > 0 || statement.blocks > 0 => {}
            Some(Token::Other) => statement.others += 1,
            end @ (Some(Token::End) | None) => {
                if statement.is_of_transaction() {
                    return Some(statement.words.join(" "));
                }
                end.as_ref()?;
                statement = Statement::default();
            }
        }
    }
}

/// The beginning of one statement, and the current nesting of the scanner.
#[derive(Default)]
struct Statement {
    /// Its first words, in capital letters.
    words: Vec<String>,
    /// What is neither a word nor a parenthesis.
    others: usize,
    /// Open parentheses.
    depth: usize,
    /// Open `BEGIN`s and `CASE`s of a function's body.
    blocks: usize,
}

/// Words that decide: `CREATE OR REPLACE FUNCTION` is the longest beginning.
const WORDS_MAX: usize = 4;

impl Statement {
    fn word(&mut self, word: &str) {
        let word = word.to_ascii_uppercase();
        if self.makes_function() && self.depth == 0 {
            match word.as_str() {
                "BEGIN" => self.blocks += 1,
                "CASE" if self.blocks > 0 => self.blocks += 1,
                "END" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < WORDS_MAX && self.others == 0 {
            self.words.push(word);
        }
    }

    fn makes_function(&self) -> bool {
        let mut words =
            self.words.iter().map(String::as_str).filter(|word| !["OR", "REPLACE"].contains(word));
        words.next() == Some("CREATE") && matches!(words.next(), Some("FUNCTION" | "PROCEDURE"))
    }

    fn is_of_transaction(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            // Back to a savepoint, which is inside the transaction.
            ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => false,
            ["BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "ABORT", ..] => true,
            ["START" | "PREPARE", "TRANSACTION", ..] => true,
            _ => false,
        }
    }
}

enum Token<'t> {
    /// A word without quotes.
    Word(&'t str),
    Open,
    Close,
    /// A semicolon.
    End,
    Other,
}

struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    fn next(&mut self) -> Option<Token<'t>> {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("--") {
                self.rest = comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest);
            } else if self.rest.starts_with("/*") {
                self.rest = behind_comment(self.rest);
            } else {
                break;
            }
        }
        let first = self.rest.chars().next()?;
        let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
        match first {
            '\'' => self.skip_quoted('\'', false),
            '"' => self.skip_quoted('"', false),
            '$' if dollar_tag(self.rest).is_some() => {
                let tag = dollar_tag(self.rest).unwrap_or_default();
                let body = &self.rest[tag.len()..];
                self.rest = body.find(tag).map_or("", |end| &body[end + tag.len()..]);
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let end = self.rest.find(|letter| !is_of_word(letter)).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                if word.eq_ignore_ascii_case("E") && rest.starts_with('\'') {
                    self.skip_quoted('\'', true);
                    return Some(Token::Other);
                }
                return Some(Token::Word(word));
            }
            letter => {
                self.rest = &self.rest[letter.len_utf8()..];
                return Some(match letter {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ';' => Token::End,
                    _ => Token::Other,
                });
            }
        }
        Some(Token::Other)
    }

    /// A doubled quote is read as two adjacent texts, which end at the same place.
    fn skip_quoted(&mut self, quote: char, has_escapes: bool) {
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            if letter == '\\' && has_escapes {
                letters.next();
            } else if letter == quote {
                self.rest = &self.rest[at + letter.len_utf8()..];
                return;
            }
        }
        self.rest = "";
    }
}

/// What stands behind a comment, which may hold others.
fn behind_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0_usize, text);
    loop {
        if let Some(inside) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, inside);
        } else if let Some(behind) = rest.strip_prefix("*/") {
            (depth, rest) = (depth - 1, behind);
        } else {
            let mut letters = rest.chars();
            if letters.next().is_none() {
                return "";
            }
            rest = letters.as_str();
        }
        if depth == 0 {
            return rest;
        }
    }
}

/// `$$` or `$tag$` at the beginning of a text.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let name = &text[1..end - 1];
    let begins_well = name.chars().next().is_none_or(|first| first.is_alphabetic() || first == '_');
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (begins_well && is_name).then_some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_begin_or_end_a_transaction_are_found_wherever_they_stand() {
        for text in [
            "COMMIT",
            "commit;",
            " \n\tRollback",
            "end",
            "ABORT WORK",
            "begin",
            "START TRANSACTION READ ONLY",
            "COMMIT AND CHAIN",
            "rollback transaction",
            "COMMIT PREPARED 'x'",
            "PREPARE TRANSACTION 'x'",
            "/* a /* nested */ comment */ commit",
            "-- a line\ncommit",
            ";;commit",
            "SELECT 1; COMMIT; SELECT 2",
            "SELECT ';'; COMMIT",
            "SELECT E'\\';'; COMMIT",
            "SELECT 'it''s;'; COMMIT",
            "SELECT $$;$$; COMMIT",
            "SELECT $a$ ; $$ $a$; COMMIT",
            "SELECT \"a;\"; COMMIT",
            "SELECT (1); COMMIT",
            "SELECT a$b$c FROM t; COMMIT",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; COMMIT",
            "SELECT $1; COMMIT",
            "COMMIT/**/",
        ] {
            assert!(of_transaction(text).is_some(), "{text}");
        }
    }

    #[test]
    fn all_other_statements_pass() {
        for text in [
            "",
            ";",
            "SELECT 'COMMIT'",
            "SELECT 1 -- ; COMMIT",
            "SELECT /* ; COMMIT ; */ 1",
            "SELECT $$; COMMIT; $$",
            "SELECT $x$; COMMIT; $$; COMMIT; $x$",
            "SELECT E'\\'; COMMIT'",
            "SELECT \"; COMMIT\"",
            "ROLLBACK TO a",
            "ROLLBACK WORK TO SAVEPOINT a",
            "SAVEPOINT commit",
            "RELEASE a",
            "CREATE TABLE commit (x BIGINT); INSERT INTO commit VALUES (1)",
            "PREPARE transactions AS SELECT 1",
            "CREATE RULE r AS ON INSERT TO a DO ALSO (SELECT 1; SELECT 2)",
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
            "DO $$ BEGIN PERFORM 1; END $$",
            "SELECT CASE WHEN a THEN 1 END; SELECT 2",
        ] {
            assert_eq!(of_transaction(text), None, "{text}");
        }
    }
}
