"""Tree-sitter queries for the definitions and mentions in each language.

Each pattern of `QUERIES` captures the name as `@name` and the whole definition as its kind
(`@class`).
"""

from __future__ import annotations

_JAVASCRIPT = """
(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(class_declaration name: (_) @name) @class
(method_definition name: (_) @name) @method
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)])
  @function
(program (lexical_declaration (variable_declarator name: (identifier) @name) @constant))
(program (export_statement (lexical_declaration
  (variable_declarator name: (identifier) @name) @constant)))
"""

_TYPESCRIPT = (
    _JAVASCRIPT
    + """
(abstract_class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(type_alias_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @enum
(internal_module name: (_) @name) @namespace
(module name: (_) @name) @namespace
(function_signature name: (_) @name) @function
(method_signature name: (_) @name) @method
(abstract_method_signature name: (_) @name) @method
(public_field_definition name: (_) @name value: (arrow_function)) @method
"""
)

_C = """
(function_definition declarator: (function_declarator declarator: (identifier) @name)) @function
(function_definition declarator: (pointer_declarator
  declarator: (function_declarator declarator: (identifier) @name))) @function
(struct_specifier name: (type_identifier) @name body: (_)) @struct
(union_specifier name: (type_identifier) @name body: (_)) @union
(enum_specifier name: (type_identifier) @name body: (_)) @enum
(type_definition declarator: (type_identifier) @name) @type
(preproc_def name: (identifier) @name) @macro
(preproc_function_def name: (identifier) @name) @macro
(declaration declarator: (function_declarator declarator: (identifier) @name)) @declaration
(translation_unit (declaration
  declarator: (init_declarator declarator: (identifier) @name)) @variable)
"""

QUERIES: dict[str, str] = {
    "python": """
(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name) @class
(module (expression_statement (assignment left: (identifier) @name) @constant))
(type_alias_statement left: (type (identifier) @name)) @type
""",
    "javascript": _JAVASCRIPT
    + "(field_definition property: (_) @name value: (arrow_function)) @method\n",
    "typescript": _TYPESCRIPT,
    "tsx": _TYPESCRIPT,
    "go": """
(function_declaration name: (identifier) @name) @function
(method_declaration name: (field_identifier) @name) @method
(type_spec name: (type_identifier) @name) @type
(type_alias name: (type_identifier) @name) @type
(source_file (const_declaration (const_spec name: (identifier) @name) @constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @variable))
(source_file (var_declaration (var_spec_list (var_spec name: (identifier) @name) @variable)))
""",
    "rust": """
(function_item name: (identifier) @name) @function
(function_signature_item name: (identifier) @name) @function
(struct_item name: (type_identifier) @name) @struct
(enum_item name: (type_identifier) @name) @enum
(union_item name: (type_identifier) @name) @union
(trait_item name: (type_identifier) @name) @trait
(type_item name: (type_identifier) @name) @type
(const_item name: (identifier) @name) @constant
(static_item name: (identifier) @name) @static
(mod_item name: (identifier) @name body: (_)) @module
(macro_definition name: (identifier) @name) @macro
(impl_item type: (type_identifier) @name) @impl
(impl_item type: (generic_type type: (type_identifier) @name)) @impl
""",
    "c": _C,
    "cpp": _C
    + """
(class_specifier name: (_) @name body: (_)) @class
(struct_specifier name: (template_type) @name body: (_)) @struct
(namespace_definition name: (_) @name) @namespace
(alias_declaration name: (type_identifier) @name) @type
(concept_definition name: (identifier) @name) @concept
(function_declarator declarator: (field_identifier) @name) @method
(function_definition declarator: (function_declarator
  declarator: (qualified_identifier) @name)) @method
(function_definition declarator: (pointer_declarator declarator: (function_declarator
  declarator: (qualified_identifier) @name))) @method
(function_definition declarator: (reference_declarator (function_declarator
  declarator: [(identifier) (qualified_identifier)] @name))) @method
(function_declarator declarator: [(destructor_name) (operator_name)] @name) @method
""",
    "java": """
(class_declaration name: (identifier) @name) @class
(interface_declaration name: (identifier) @name) @interface
(enum_declaration name: (identifier) @name) @enum
(record_declaration name: (identifier) @name) @record
(annotation_type_declaration name: (identifier) @name) @annotation
(method_declaration name: (identifier) @name) @method
(constructor_declaration name: (identifier) @name) @constructor
(field_declaration declarator: (variable_declarator name: (identifier) @name)) @field
""",
    "csharp": """
(class_declaration name: (identifier) @name) @class
(interface_declaration name: (identifier) @name) @interface
(struct_declaration name: (identifier) @name) @struct
(enum_declaration name: (identifier) @name) @enum
(record_declaration name: (identifier) @name) @record
(delegate_declaration name: (identifier) @name) @delegate
(method_declaration name: (identifier) @name) @method
(constructor_declaration name: (identifier) @name) @constructor
(property_declaration name: (identifier) @name) @property
(local_function_statement name: (identifier) @name) @function
(namespace_declaration name: (_) @name) @namespace
""",
    "ruby": """
(class name: (_) @name) @class
(module name: (_) @name) @module
(method name: (_) @name) @method
(singleton_method name: (_) @name) @method
(assignment left: (constant) @name) @constant
""",
    "php": """
(function_definition name: (name) @name) @function
(class_declaration name: (name) @name) @class
(interface_declaration name: (name) @name) @interface
(trait_declaration name: (name) @name) @trait
(enum_declaration name: (name) @name) @enum
(method_declaration name: (name) @name) @method
(const_declaration (const_element (name) @name)) @constant
""",
    "bash": """
(function_definition name: (word) @name) @function
(program (variable_assignment name: (variable_name) @name) @variable)
(program (declaration_command (variable_assignment name: (variable_name) @name)) @variable)
""",
    "json": """
(document (object (pair key: (string (string_content) @name)) @key))
(document (object (pair value: (object (pair key: (string (string_content) @name)) @key))))
""",
    "toml": """
(table [(bare_key) (quoted_key) (dotted_key)] @name) @table
(table_array_element [(bare_key) (quoted_key) (dotted_key)] @name) @table
(document (pair [(bare_key) (quoted_key) (dotted_key)] @name) @key)
""",
    "yaml": """
(document (block_node (block_mapping (block_mapping_pair key: (_) @name) @key)))
(document (block_node (block_mapping (block_mapping_pair value: (block_node
  (block_mapping (block_mapping_pair key: (_) @name) @key))))))
""",
    "html": """
((attribute (attribute_name) @attribute (quoted_attribute_value (attribute_value) @name)) @id
  (#eq? @attribute "id"))
""",
    "css": """
(rule_set (selectors) @name) @rule
(keyframes_statement (keyframes_name) @name) @keyframes
(media_statement "@media" @name) @media
""",
}

_C_FAMILY = "identifier type_identifier field_identifier"
_SCRIPT = "identifier property_identifier shorthand_property_identifier"
MENTIONS: dict[str, str] = {
    "python": "identifier",
    "javascript": _SCRIPT,
    "typescript": f"{_SCRIPT} type_identifier",
    "tsx": f"{_SCRIPT} type_identifier",
    "go": f"{_C_FAMILY} package_identifier",
    "rust": _C_FAMILY,
    "c": _C_FAMILY,
    "cpp": f"{_C_FAMILY} namespace_identifier",
    "java": "identifier type_identifier",
    "csharp": "identifier",
    "ruby": "identifier constant",
    "php": "name",
    "bash": "command_name variable_name",
}
"""Node types that mention a name; languages of data have none."""
