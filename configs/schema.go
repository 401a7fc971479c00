package configs

// LabSchema returns the JSON schema (draft 2020-12) of a lab file, as editors
// take it. It is made from the tables that files are read by.
func LabSchema() map[string]any {
	machine := map[string]any{}
	for _, k := range machineKeys() {
		machine[k.name] = k.schema()
	}
	own := map[string]any{"^x-": map[string]any{}}
	top := map[string]any{}
	for _, k := range labKeys() {
		top[k.name] = map[string]any{"description": k.doc}
	}
	add := func(key string, more map[string]any) {
		for k, v := range more {
			top[key].(map[string]any)[k] = v
		}
	}
	ref := map[string]any{"$ref": "#/$defs/machine"}
	add("name", map[string]any{"type": "string", "pattern": labName.String()})
	add("defaults", ref)
	add("machines", map[string]any{
		"type": "object", "minProperties": 1, "additionalProperties": ref,
		"propertyNames": map[string]any{"pattern": partName.String()},
	})
	add("namespaces", map[string]any{
		"type": "object", "additionalProperties": map[string]any{"$ref": "#/$defs/namespace"},
		"propertyNames": map[string]any{"pattern": partName.String()},
	})
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "vmlaunch.yaml",
		"type": "object", "properties": top, "patternProperties": own, "additionalProperties": false, "required": []string{"machines"},
		"$defs": map[string]any{
			"machine": map[string]any{
				"type": []string{"object", "null"}, "properties": machine, "patternProperties": own, "additionalProperties": false,
			},
			"namespace": map[string]any{
				"type": []string{"object", "null"}, "additionalProperties": false,
				"properties": map[string]any{
					"vsock": map[string]any{"enum": []string{VsockGlobal, VsockLocal}, "description": "vsock mode it is made with (default local), or must have"},
					"adopt": map[string]any{"type": "string", "description": "name or path of a namespace that is there already, or pid:N"},
				},
			},
		},
	}
}

// schema returns the schema of k's value. A variable may stand for any of them,
// so numbers may be texts as well.
func (k machineKey) schema() map[string]any {
	s := map[string]any{"description": k.doc}
	text := map[string]any{"type": "string"}
	variable := map[string]any{"type": "string", "pattern": `\$`}
	list := map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "number", "boolean"}}}
	switch k.form {
	case formText:
		s["type"] = []string{"string", "number"}
		if k.allow != nil {
			delete(s, "type")
			s["anyOf"] = []any{map[string]any{"enum": k.allow}, variable}
		}
	case formNumber:
		s["anyOf"] = []any{map[string]any{"type": "integer"}, variable}
	case formCID:
		s["anyOf"] = []any{map[string]any{"type": "integer", "minimum": firstCID, "maximum": lastCID}, text}
	case formTexts:
		s["anyOf"] = []any{list, text}
	case formFlag:
		s["anyOf"] = []any{map[string]any{"type": "boolean"}, variable}
	case formMap:
		s["type"] = "object"
		s["additionalProperties"] = map[string]any{"type": []string{"string", "number", "boolean", "null"}}
	case formDepend:
		s["anyOf"] = []any{list, text, map[string]any{"type": "object", "additionalProperties": map[string]any{"enum": []string{DependsReady, DependsRunning}}}}
	}
	return s
}
