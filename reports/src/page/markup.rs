//! HTML as text: escaping, and the lesson's Markdown.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// Text for an element or an attribute in double quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Markdown as HTML. A history may come from anybody, so raw HTML is shown as the text it is, pictures give their
/// description, and links lead to the web or nowhere: the page stays self-contained and runs nothing.
pub(crate) fn markdown(text: &str) -> String {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(harmless);
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

fn harmless(event: Event<'_>) -> Option<Event<'_>> {
    if let Event::Html(text) | Event::InlineHtml(text) = event {
        return Some(Event::Text(text));
    }
    if matches!(
        event,
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image)
    ) {
        return None;
    }
    if let Event::Start(Tag::Link {
        link_type,
        dest_url,
        title,
        id,
    }) = event
    {
        let web = dest_url.starts_with("https://") || dest_url.starts_with("http://");
        let dest_url = if web { dest_url } else { "#".into() };
        return Some(Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }));
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_html_is_escaped() {
        assert_eq!(
            escape("a<b> & \"c\" 'd'"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;"
        );
    }

    #[test]
    fn a_lesson_is_rendered_from_markdown() {
        assert_eq!(
            markdown("`acks=1` waits for **one**."),
            "<p><code>acks=1</code> waits for <strong>one</strong>.</p>\n"
        );
    }

    #[test]
    fn a_lesson_brings_no_script_picture_or_script_link_along() {
        let out = markdown(
            "<script>alert(1)</script>\n\n![a cat](https://x/cat.png) [run](javascript:alert(1))",
        );
        assert!(
            !out.contains("<script") && !out.contains("<img") && !out.contains("javascript:"),
            "{out}"
        );
        assert!(
            out.contains("a cat") && out.contains("&lt;script&gt;"),
            "{out}"
        );
    }
}
