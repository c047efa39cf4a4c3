"""Reports and pictures of documents: self-contained HTML, Markdown, SVG, DOT and Mermaid."""
