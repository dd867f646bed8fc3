"""NXQL: the query language of documents. Text → tree (`parser.parse`) → SQL (`compiler.compile_query`)."""
